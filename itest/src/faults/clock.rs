//! The clock is set, in a machine of its own.

use anyhow::{Result, ensure};

use crate::vm;

/// Runs in the machine, when its engine is ready.
const SCRIPT: &str = r#"
b=/itest/busybox
say() { echo "itest: $1=$2"; }
certs=/certs/client
tls() {
  docker --host tcp://127.0.0.1:2376 --tlsverify --tlscacert $certs/ca.pem --tlscert $certs/cert.pem --tlskey $certs/key.pem \
    version --format served 2>&1
}
# The clock at so many seconds from where it began.
at() { $b date -s "@$((began + $1))" > /dev/null; }
look() {
  say $1_run "$(docker run --rm -v told:/data box cat /data/file)"
  say $1_health "$(dockerlaunch healthcheck && echo healthy)"
  say $1_tls "$(tls | $b tr '\n' ' ')"
  say $1_age "$(docker ps --filter name=old --format '{{.Status}}')"
  say $1_restarts "$(docker inspect --format '{{.RestartCount}} {{.State.Status}}' old)"
}
docker import /itest/box.tar box > /dev/null
docker run --rm -v told:/data box sh -c 'echo on the disk | dd of=/data/file conv=fsync 2> /dev/null'
docker run -d --name old --restart always box sh -c 'trap "exit 1" USR1; while :; do sleep 1; done' > /dev/null
began=$($b date +%s)
look now
at $((400 * 86400)); look ahead
# A restart that is due comes all the same. (After `docker kill` none would be due.)
docker exec old kill -USR1 1; $b sleep 20
look restarted
at $((900 * 86400)); look expired
at -1800; look behind
at $((-400 * 86400)); look before
at 0; look again
exit 0
"#;

/// What must hold, in one line.
pub const HOLDS: &str = "engine and containers go on whatever the clock says, and what was written is there; TLS does where the certificates are valid, and else says why";

/// Forward within the certificates' time and past it, back a little, and before their beginning.
pub fn set() -> Result<()> {
    let boot = vm::boot(SCRIPT)?;
    // How often the container has started again: once it is meant to.
    let moments = [
        ("now", 0),
        ("ahead", 0),
        ("restarted", 1),
        ("expired", 1),
        ("behind", 1),
        ("before", 1),
        ("again", 1),
    ];
    for (moment, restarts) in moments {
        let restarts = format!("{restarts} running");
        for (what, answer) in [("run", "on the disk"), ("health", "healthy"), ("restarts", &*restarts)] {
            let said = boot.said(&format!("{moment}_{what}"))?;
            ensure!(said == answer, "{moment}, {what}: `{said}`; the end:\n{}", boot.tail());
        }
        let age = boot.said(&format!("{moment}_age"))?;
        ensure!(age.starts_with("Up ") && !age.contains('-'), "{moment}: a container is `{age}`");
        let tls = boot.said(&format!("{moment}_tls"))?;
        let holds = match moment {
            "expired" => tls.contains("certificate has expired") && tls.contains(" is after "),
            "before" => tls.contains("is not yet valid") && tls.contains(" is before "),
            _ => tls.trim() == "served",
        };
        ensure!(holds, "{moment}: a client by TLS hears `{tls}`");
    }
    Ok(())
}
