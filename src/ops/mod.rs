//! Background work, sinks and stores: what outlives a request.

pub mod access_log;
pub mod audit;
pub mod cache;
pub mod credentials;
pub mod google;
pub mod jwks;
pub mod limits;
pub mod live;
pub mod load;
pub mod metrics;
pub mod random;
pub mod redis;
pub mod reload;
pub mod remote;
pub mod resolve;
pub mod responses;
pub mod state;
pub mod targets;
pub mod upstreams;
mod watch;
