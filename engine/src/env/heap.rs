//! The heap of the program, as far as the C library can be told what to do with it.

/// Gives free pages back to the system.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(super) fn trim() {
    // SAFETY: `malloc_trim` may be called by any thread at any time (it is MT-Safe, see malloc_trim(3)); it locks the heaps as
    // an allocation does, and touches only what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(super) fn trim() {}
