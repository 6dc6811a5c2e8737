//! Commands of the operator, one file each.

pub mod watermark;
