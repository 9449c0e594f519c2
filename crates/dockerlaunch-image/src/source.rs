//! Where packages come from: the distribution's archive, as apt on this host knows it.

pub mod apt;
pub mod archive;
pub mod packages;
pub mod release;

pub use apt::{AptSettings, AptSource};
pub use archive::{Archive, SourceError};
pub use packages::Package;
pub use release::Release;
