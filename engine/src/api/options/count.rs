//! Whole numbers, as setters take them.

/// A whole number, as setters that count take it: any integer, or a float without a fraction.
///
/// ```
/// # use actinic::prelude::*;
/// CallOptions::new().max_task_retries(-1).num_returns(3usize);
/// ```
pub trait IntoCount: sealed::Sealed {
    /// The number, or nothing if it is not whole or does not fit.
    #[doc(hidden)]
    fn into_count(self) -> Option<i64>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! counts {
    ($($int:ty)*; $($float:ty)*) => {
        $(
            impl sealed::Sealed for $int {}
            impl IntoCount for $int {
                fn into_count(self) -> Option<i64> {
                    i64::try_from(self).ok()
                }
            }
        )*
        $(
            impl sealed::Sealed for $float {}
            impl IntoCount for $float {
                fn into_count(self) -> Option<i64> {
                    // Beyond 2^53 not every whole number is a float; nobody counts that far.
                    let value = f64::from(self);
                    (value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0).then_some(value as i64)
                }
            }
        )*
    };
}
counts!(i8 i16 i32 i64 i128 isize u8 u16 u32 u64 u128 usize; f32 f64);
