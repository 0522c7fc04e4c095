//! Whole visits in virtual time: people's devices, a live session, the SFU, and the lines between, from seeds.
//!
//! The session and the SFU are those of the server, put together by the bridge the server uses. Modelled are the network
//! (`tests/net`), browsers (`tests/sim`), the client's rules ([`Device`]; those of its line are held against the SDK's, `line_watch`), TCP ([`socket`]) and a store that takes
//! everything. Signaling and media share each person's line: what is sent of one waits behind the other.
#![forbid(unsafe_code)]

mod device;
mod line_watch;
pub mod scenario;
pub mod socket;
mod visit;

pub use device::{Device, Told};
pub use visit::{Visit, Who};
