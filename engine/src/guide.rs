//! Guides: pages to read, whose code is compiled and run by the tests.

#[doc = include_str!("../docs/from_tokio.md")]
pub mod from_tokio {}

#[doc = include_str!("../docs/from_ray.md")]
pub mod from_ray {}
