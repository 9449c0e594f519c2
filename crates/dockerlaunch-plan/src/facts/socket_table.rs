//! Listening sockets as the kernel lists them: `/proc/net/tcp`, `/proc/net/tcp6` (proc_net_tcp, kernel documentation) and
//! `/proc/net/unix` (proc_net(5)).

/// Inodes of the sockets that listen on this TCP port, whatever their address.
pub fn listening_on_port(table: &str, port: u16) -> Vec<u64> {
    const LISTEN: &str = "0A";
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, hex) = fields.get(1)?.rsplit_once(':')?;
        let is_it = fields.get(3) == Some(&LISTEN) && u16::from_str_radix(hex, 16) == Ok(port);
        fields.get(9).filter(|_| is_it)?.parse().ok()
    };
    table.lines().filter_map(inode).collect()
}

/// Inodes of the unix sockets that listen at this path.
pub fn listening_at_path(table: &str, path: &str) -> Vec<u64> {
    /// `__SO_ACCEPTCON` (linux/net.h).
    const ACCEPTS: u32 = 1 << 16;
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
        let is_it = flags & ACCEPTS != 0 && fields.get(7) == Some(&path);
        fields.get(6).filter(|_| is_it)?.parse().ok()
    };
    table.lines().filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_on_the_port_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0947 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0 100 0 0 10 0
   1: 0100007F:0947 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 0 20 4 30 10 -1
   2: 00000000:0948 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4713 1 0 100 0 0 10 0";
        let v6 = "   0: 00000000000000000000000000000000:0948 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99 1 0";
        assert_eq!(listening_on_port(table, 2375), [4711]);
        assert_eq!(listening_on_port(table, 2376), [4713]);
        assert_eq!(listening_on_port(v6, 2376), [99]);
        assert!(listening_on_port("x\n\n1: : : 0A", 0).is_empty());
    }

    #[test]
    fn a_unix_socket_is_known_by_its_path() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01 20001 /run/docker.sock
0000000000000000: 00000003 00000000 00000000 0001 03 20002 /run/docker.sock
0000000000000000: 00000002 00000000 00010000 0001 01 20003";
        assert_eq!(listening_at_path(table, "/run/docker.sock"), [20001]);
        assert!(listening_at_path(table, "/run/other.sock").is_empty());
    }

    proptest::proptest! {
        #[test]
        fn never_panics(table in "[0-9A-F: \n/]{0,80}", port: u16) {
            listening_on_port(&table, port);
            listening_at_path(&table, "/");
        }
    }
}
