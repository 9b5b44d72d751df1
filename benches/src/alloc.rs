//! Counting allocations, under the feature `count-allocs`.
//!
//! The counters are shared atomics, so they cost time: the rates of such a build mean nothing.

#[cfg(feature = "count-allocs")]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    pub(crate) static CALLS: AtomicU64 = AtomicU64::new(0);
    pub(crate) static BYTES: AtomicU64 = AtomicU64::new(0);

    struct Counting;

    #[global_allocator]
    static ALLOCATOR: Counting = Counting;

    // SAFETY: every call is passed on to the system's allocator unchanged; the counters touch no memory of its.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            CALLS.fetch_add(1, Relaxed);
            BYTES.fetch_add(layout.size() as u64, Relaxed);
            // SAFETY: the caller's promise is the one that `System` asks for.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            CALLS.fetch_add(1, Relaxed);
            BYTES.fetch_add(layout.size() as u64, Relaxed);
            // SAFETY: as above.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            CALLS.fetch_add(1, Relaxed);
            BYTES.fetch_add(size as u64, Relaxed);
            // SAFETY: as above.
            unsafe { System.realloc(at, layout, size) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as above.
            unsafe { System.dealloc(at, layout) }
        }
    }
}

/// What this process has allocated so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Allocated {
    /// Calls of the allocator that may return memory.
    pub(crate) calls: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

/// Nothing, unless the feature is on.
pub(crate) fn allocated() -> Option<Allocated> {
    #[cfg(feature = "count-allocs")]
    {
        use std::sync::atomic::Ordering::Relaxed;
        Some(Allocated { calls: counting::CALLS.load(Relaxed), bytes: counting::BYTES.load(Relaxed) })
    }
    #[cfg(not(feature = "count-allocs"))]
    None
}
