//! Actions in words, as `plan` and errors tell them.

use std::fmt;

use super::Action;
use crate::config::duration::show;
use crate::facts::storage::{IMAGE, bytes};

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mount { fstype, target, flags, data } => {
                let options: Vec<&str> = flags.iter().chain(data).map(String::as_str).collect();
                write!(f, "mount {fstype} at {target}")?;
                if options.is_empty() { Ok(()) } else { write!(f, " ({})", options.join(",")) }
            }
            Self::CoverRoot => f.write_str("bind / over / so that it can be pivoted"),
            Self::MakeShared { target } => write!(f, "make {target} rshared"),
            Self::Mkdir { path, mode } => write!(f, "mkdir {path} (mode {mode:04o})"),
            Self::Symlink { path, target } => write!(f, "link {path} -> {target}"),
            Self::MakeNode { path, major, minor, .. } => write!(f, "mknod {path} (char {major}:{minor})"),
            Self::WriteFile { path, .. } | Self::ReplaceFile { path, .. } => write!(f, "write {path}"),
            Self::BundleCertificates { from, text, to } => {
                let count = from.len() + usize::from(text.is_some());
                write!(f, "write the certificates of {count} sources to {to}")
            }
            Self::ListenTcp { address } => write!(f, "listen on tcp://{address}"),
            Self::ListenUnix { path, gid, mode } => {
                write!(f, "listen on {path} (mode {mode:04o}")?;
                gid.map_or(Ok(()), |gid| write!(f, ", group {gid}"))?;
                f.write_str(")")
            }
            Self::MakeKey { path, .. } => write!(f, "make the key {path}"),
            Self::SetMode { path, mode } => write!(f, "give {path} the mode {mode:04o}"),
            Self::IssueCertificate { path, role, .. } => {
                write!(f, "issue the certificate {path}")?;
                if role.names().is_empty() { Ok(()) } else { write!(f, " for {}", role.names().join(", ")) }
            }
            Self::InstallFile { from, to, .. } => write!(f, "copy {from} over {to}"),
            Self::CopyFile { from, to } => write!(f, "copy {from} to {to}"),
            Self::WriteKnob { path, value } => write!(f, "write {value} to {path}"),
            Self::PrivateCgroups => f.write_str("make a cgroup namespace of our own"),
            Self::Unmount { target } => write!(f, "unmount {target}"),
            Self::RemountWritable { target, .. } => write!(f, "remount {target} writable"),
            Self::NestCgroup { cgroup, leaf } => {
                write!(
                    f,
                    "move processes from {cgroup} to {cgroup}/{leaf}, and enable controllers below {cgroup}"
                )
            }
            Self::CreateBridge { name } => write!(f, "create the bridge {name}"),
            Self::AddAddress { name, address } => write!(f, "give {name} the address {address}"),
            Self::AddRoute { name, gateway } => write!(f, "send what leaves by {name} to {gateway}"),
            Self::LoadDrivers { modules } => {
                write!(f, "load {}, and what is then asked for", modules.join(", "))
            }
            Self::LinkUp { name } => write!(f, "bring {name} up"),
            Self::AnswerNames { address } => write!(f, "answer names on {address}"),
            Self::LimitNofile { soft, hard } => write!(f, "limit open files to {soft} (hard {hard})"),
            Self::LockDataRoot { path, wait } => write!(f, "lock {path}, within {}", show(*wait)),
            Self::MountLoop { target, size, mkfs } => {
                if mkfs.is_some() {
                    write!(f, "make an ext4 of {} in {target}, and ", bytes(*size))?;
                }
                write!(f, "mount {target}/{IMAGE} at {target}")
            }
            Self::MountDevice { device, target, fstype, mkfs } => {
                if mkfs.is_some() {
                    write!(f, "make an {fstype} on {device}, and ")?;
                }
                write!(f, "mount {device} ({fstype}) at {target}")
            }
            Self::Remove { path } => write!(f, "remove stale {path}"),
            Self::SetAside { from, to } => write!(f, "set {from} aside as {to}"),
        }
    }
}
