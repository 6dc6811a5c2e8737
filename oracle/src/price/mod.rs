//! Prices: what venues say, and what follows from it. The same reckoning for the oracle and for those who audit it.
//!
//! Pure: no clock, no disk, no socket, no float. Whoever has the venues' raw bytes, the moments they came and the
//! published policy gets the same medians, held prices, lows and fixings to the cent.
//!
//! - [`policy`]: every number the rules need, versioned and signed
//! - [`venue`]: one file each, from JSON bytes to a quote
//! - [`aggregate`]: five quotes to one median, or the reason why not
//! - [`reckon`]: medians to held price, hour low and fixing
//! - [`backtest`]: what an oracle would have said over bars of the past

pub mod aggregate;
pub mod backtest;
pub mod bars;
pub mod decimal;
pub mod policy;
pub mod reckon;
pub mod venue;
