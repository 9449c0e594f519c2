//! Kernels that have only one of the two packet filters.

use anyhow::{Result, ensure};

use super::{Boot, boot_without};

/// Reaches a container over the bridge, by a published port, and from another container out through the firewall.
const SCRIPT: &str = r#"
b=/itest/busybox
say() { echo "itest: $1=$2"; }
say engine "$($b tr '\0' ' ' < /proc/$($b pidof dockerd)/cmdline)"
docker import /itest/box.tar box > /dev/null
docker run -d -p 8080:80 box sh -c 'mkdir /www; echo through > /www/index.html; exec httpd -f -p 80 -h /www' > /dev/null
for try in 1 2 3 4 5 6 7 8 9 10; do
  published=$($b timeout 20 $b wget -q -O - http://127.0.0.1:8080/) && break
  $b sleep 1
done
say published "$published"
gateway=$(docker network inspect bridge --format '{{(index .IPAM.Config 0).Gateway}}')
say out "$(docker run --rm box sh -c "timeout 30 wget -q -O - http://$gateway:8080/; exit \$?")"
say modules "$($b awk '{printf "%s ", $1}' /proc/modules)"
exit 0
"#;

/// Without nf_tables, and without NAT for IPv6 in the legacy tables.
pub fn legacy_alone() -> Result<()> {
    let boot = boot_without(&["nf_tables", "nft_", "ip6table_nat"], SCRIPT)?;
    expect(&boot, "iptables-legacy: nf_tables cannot do here what iptables needs")?;
    expect(&boot, "; not for IPv6, which lacks CONFIG_IP6_NF_NAT")?;
    let engine = boot.said("engine")?;
    ensure!(engine.contains(" --ip6tables=false "), "the engine runs as `{engine}`");
    containers_reach(&boot, "iptable_nat")
}

/// Without the legacy tables.
pub fn nft_alone() -> Result<()> {
    let boot = boot_without(&["ip_tables", "iptable_", "ip6_tables", "ip6table_"], SCRIPT)?;
    expect(&boot, "iptables-nft: the kernel answers on nf_tables\n")?;
    containers_reach(&boot, "nf_tables")
}

fn expect(boot: &Boot, words: &str) -> Result<()> {
    ensure!(boot.log.replace('\r', "").contains(words), "no `{words}` on the serial line:\n{}", boot.tail());
    Ok(())
}

fn containers_reach(boot: &Boot, module: &str) -> Result<()> {
    for word in ["published", "out"] {
        let page = boot.said(word)?;
        ensure!(page == "through", "{word}: `{page}`; the end:\n{}", boot.tail());
    }
    let modules = boot.said("modules")?;
    ensure!(modules.split(' ').any(|loaded| loaded == module), "no {module} among: {modules}");
    Ok(())
}
