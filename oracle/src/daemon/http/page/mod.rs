//! The public page: what a person sees who opens the oracle's address in a browser.
//!
//! Made on the server, no script at all, nothing from elsewhere; the content policy says so to the browser. Every text
//! goes through the template's escaping. Shows only what may be served: it decides and signs nothing.

mod chart;
mod facts;
mod qr;
mod routes;
mod view;

pub use routes::routes;
