//! `docker build` of a repository, with the image's own git and ssh: once with the client's hand, once with the engine's.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Scenario, scenario};
use crate::command::{self, eventually};
use crate::environment::Exchange;
use crate::image::{self, BOX};
use crate::{Environment, Need};

pub(super) const NEEDS: &[Need] = &[Need::GitServer, Need::Program("ssh-keygen"), Need::Program("openssl")];

/// The area's table.
pub const SCENARIOS: &[Scenario] = &[
    scenario(
        "git::nested_submodule_by_http",
        "a repository with a submodule in its submodule is built, by http",
        nested_submodule_by_http_pain_30,
    )
    .needs(NEEDS),
    scenario(
        "git::nested_submodule_by_ssh",
        "the same by ssh, with a key and a known host in /root/.ssh; a host that is not known is refused",
        nested_submodule_by_ssh_pain_30,
    )
    .needs(NEEDS),
    scenario("git::by_https", "git trusts a server by its CA alone", by_https_pain_30).needs(NEEDS),
];

const CONTAINER: &str = "git-server";
const IMAGE: &str = "git-server:itest";

/// Makes the repositories, as a server has them, and serves them: by http, by https as mere files, and by ssh.
const SERVE: &str = r#"
set -e
export HOME=/root PATH=/bin:/usr/bin GIT_TEMPLATE_DIR=
mkdir -p /srv /run/sshd /www/cgi-bin
ln -s git /usr/bin/git-upload-pack
printf 'sshd:x:100:65534::/run/sshd:/bin/false\ngit:x:0:0::/root:/bin/sh\n' >> /etc/passwd
git config --global user.name itest
git config --global user.email itest@example.invalid
git config --global init.defaultBranch master
repository() { # NAME [SUBMODULE]
    mkdir -p /repositories/$1 && cd /repositories/$1 && git init -q
    echo "of $1" > word
    [ $1 != outer ] || cp /files/Dockerfile .
    [ -z "$2" ] || printf '[submodule "%s"]\n\tpath = %s\n\turl = ../%s.git\n' $2 $2 $2 > .gitmodules
    git add .
    [ -z "$2" ] || git update-index --add --cacheinfo 160000,$(git -C /repositories/$2 rev-parse HEAD),$2
    git commit -q -m $1
    git update-server-info
    cp -r .git /srv/$1.git && git -C /srv/$1.git config core.bare true
}
repository inner
repository middle inner
repository outer middle
# s_server looks for a file of the whole name.
cp /srv/inner.git/info/refs '/srv/inner.git/info/refs?service=git-upload-pack'
cat > /www/cgi-bin/git <<'CGI'
#!/bin/sh
export GIT_PROJECT_ROOT=/srv GIT_HTTP_EXPORT_ALL=1 HOME=/root PATH=/bin:/usr/bin
exec git-http-backend
CGI
chmod +x /www/cgi-bin/git
httpd -p 80 -h /www
cd /srv
openssl s_server -quiet -WWW -accept 443 -cert /files/server.pem -key /files/server.key &
exec /usr/bin/sshd -D -e -f /dev/null -o UsePAM=no -o StrictModes=no -o HostKey=/files/host -o AuthorizedKeysFile=/files/user.pub
"#;

/// A server of repositories, in a container on the engine's bridge.
pub(super) struct Server<'a> {
    env: &'a dyn Environment,
    address: String,
    files: Exchange,
}

impl<'a> Server<'a> {
    pub(super) fn start(env: &'a dyn Environment) -> Result<Self> {
        env.remove(&[CONTAINER])?;
        let files = env.exchange().directory(CONTAINER)?;
        for key in ["host", "user"] {
            let mut keygen = Command::new("ssh-keygen");
            keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "itest", "-f"]).arg(files.outside.join(key));
            command::run(&mut keygen, b"")?.success()?;
        }
        files.write("Dockerfile", format!("FROM {BOX}\nCOPY . /context\n"))?;
        files.write("serve", SERVE)?;
        env.docker_with_input(&["import", "-", IMAGE], &image::git_server_rootfs()?)?.success()?;
        // It waits for a certificate, which takes its address.
        let wait = "while ! [ -e /files/server.pem ]; do sleep 0.1; done; exec sh /files/serve";
        let mount = format!("{}:/files", files.inside);
        env.docker(&["run", "-d", "--name", CONTAINER, "-v", &mount, IMAGE, "/bin/sh", "-c", wait])?;
        let format = "{{.NetworkSettings.Networks.bridge.IPAddress}}";
        let address = env.docker(&["inspect", "--format", format, CONTAINER])?;
        certify(&files.outside, &address)?;
        let server = Server { env, address, files };
        eventually("the servers listen", Duration::from_secs(60), || {
            let listens = "for port in 0016 0050 01BB; do cat /proc/net/tcp* | grep -q \":$port .* 0A \" || exit 1; done";
            let state = env.docker(&["inspect", "--format", "{{.State.Running}}", CONTAINER])?;
            ensure!(
                state == "true",
                "the server has ended: {}",
                env.try_docker(&["logs", CONTAINER])?.stderr
            );
            Ok(env.try_docker(&["exec", CONTAINER, "/bin/sh", "-c", listens])?.status == 0)
        })?;
        Ok(server)
    }

    pub(super) fn by_http(&self) -> String {
        format!("http://{}/cgi-bin/git/outer.git", self.address)
    }

    fn by_ssh(&self) -> String {
        format!("git@{}:/srv/outer.git", self.address)
    }

    /// The image has the repository, its submodule, and the submodule's own.
    pub(super) fn is_whole(&self, image: &str) -> Result<()> {
        let script = "cd /context; cat word middle/word middle/inner/word";
        let said = self.env.docker(&["run", "--rm", image, "/bin/sh", "-c", script])?;
        ensure!(said == "of outer\nof middle\nof inner", "{said}");
        self.env.docker(&["rmi", image]).map(drop)
    }

    /// Once the client fetches the repository, once the engine.
    fn is_built(&self, url: &str) -> Result<()> {
        self.env.docker(&["build", "-t", "of-repository", url])?;
        self.is_whole("of-repository")?;
        let said = self.engine_builds(url)?;
        ensure!(said.contains("Successfully tagged of-repository"), "{said}");
        self.is_whole("of-repository")
    }

    /// Asks the engine for a build, which the image's client would make itself. Returns what it says.
    fn engine_builds(&self, url: &str) -> Result<String> {
        let remote = url.replace(':', "%3A").replace('/', "%2F").replace('@', "%40");
        // The engine takes the end of the client's input for its end.
        let script = format!(
            "mkfifo /in; /usr/lib/dockerlaunch/bin/docker system dial-stdio < /in & exec 3> /in; \
             printf 'POST /build?remote=%s&t=of-repository HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\
             Content-Length: 0\r\n\r\n' '{remote}' >&3; wait"
        );
        let program = "/usr/lib/dockerlaunch:/usr/lib/dockerlaunch:ro";
        let run = ["run", "--rm", "-v", program, "-v", "/var/run:/var/run", BOX, "sh", "-c", &script];
        self.env.docker(&run)
    }

    /// The key and the known host, where ssh looks for them; or none of it any more.
    fn give(&self, script: &str) -> Result<()> {
        let files = format!("{}:/files:ro", self.files.inside);
        let run = ["run", "--rm", "-v", "/root:/home", "-v", &files, BOX, "sh", "-e", "-c", script];
        self.env.docker(&run).map(drop)
    }

    pub(super) fn end(self) -> Result<()> {
        self.env.remove(&[CONTAINER])?;
        self.env.docker(&["rmi", IMAGE]).map(drop)
    }
}

/// A certificate that is its own CA's.
fn certify(directory: &Path, address: &str) -> Result<()> {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(directory).args(["req", "-x509", "-nodes", "-newkey", "ec", "-days", "2"]);
    openssl.args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=itest", "-addext"]);
    openssl.arg(format!("subjectAltName=IP:{address}")).args(["-keyout", "server.key", "-out", "new.pem"]);
    command::run(&mut openssl, b"")?.success()?;
    std::fs::rename(directory.join("new.pem"), directory.join("server.pem")).context("the certificate")
}

fn nested_submodule_by_http_pain_30(env: &dyn Environment) -> Result<()> {
    let server = Server::start(env)?;
    server.is_built(&server.by_http())?;
    server.end()
}

fn nested_submodule_by_ssh_pain_30(env: &dyn Environment) -> Result<()> {
    let server = Server::start(env)?;
    let url = server.by_ssh();
    server.give("mkdir -p -m 700 /home/.ssh; rm -f /home/.ssh/*; cp /files/user /home/.ssh/id_ed25519")?;
    let refused = env.try_docker(&["build", &url])?;
    ensure!(refused.status != 0 && refused.stderr.contains("Host key verification failed"), "{refused:?}");
    let known = format!(r#"echo "{} $(cat /files/host.pub)" > /home/.ssh/known_hosts"#, server.address);
    server.give(&known)?;
    server.is_built(&url)?;
    server.give("rm -r /home/.ssh")?;
    server.end()
}

fn by_https_pain_30(env: &dyn Environment) -> Result<()> {
    let server = Server::start(env)?;
    let url = format!("https://{}/inner.git", server.address);
    let stranger = env.exec(&["git", "ls-remote", &url], b"")?;
    ensure!(stranger.status != 0 && stranger.stderr.contains("signer not trusted"), "{stranger:?}");
    let authority = format!("http.sslCAInfo={}/server.pem", server.files.inside);
    let said = env.exec(&["git", "-c", &authority, "ls-remote", &url], b"")?.success()?;
    ensure!(said.contains("refs/heads/master"), "{said}");
    server.end()
}
