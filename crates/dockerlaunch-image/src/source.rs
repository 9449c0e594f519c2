//! Where packages come from: the distribution's archive, as apt on this host knows it.

pub mod apt;
pub mod archive;
mod error;
mod index;
pub mod packages;
pub mod release;

pub use apt::{AptSettings, AptSource};
pub use archive::Archive;
pub use error::SourceError;
pub use packages::Package;
pub use release::Release;
