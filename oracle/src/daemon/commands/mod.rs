//! Commands that need more than a line: one file each.

pub mod audit;
pub mod backtest;
pub mod watermark;
