//! Decisions: who may do what, which target a request goes to, whether a target is fit, when to try again, who has a prompt cached, which answers may be
//! given again. Time and stores are passed in; pins alone
//! keep their own.

pub mod affinity;
pub mod auth;
pub mod cache;
pub mod health;
pub mod limit;
pub mod retry;
pub mod route;
