//! One launch whose stage and variables differ from the usual.

use std::process::Output;

use super::{EmptySystem, READY, text};

/// An engine that serves until SIGTERM.
pub(crate) fn obedient() -> String {
    format!("trap 'echo engine stops; exit 0' TERM; {READY} while :; do sleep 0.05; done")
}

/// Answers HTTP on the socket that it was handed over: what the lines of `$1` say, one an answer, the last one for ever.
pub(crate) const SERVE: &str = r#"perl -MIO::Handle -MSocket -e '
  open(my $listener, "+<&=", 3) or die $!; my @answers = split /\n/, $ARGV[0];
  while (accept(my $client, $listener)) {
    my $line = <$client>; print "asked $line"; STDOUT->flush();
    my $body = @answers > 1 ? shift @answers : $answers[0];
    print $client "HTTP/1.0 200 OK\r\nContent-Length: ".length($body)."\r\n\r\n$body"; close $client;
  }' "#;

pub(crate) struct Case {
    pub(crate) system: EmptySystem,
    pub(crate) env: String,
    /// What of the stage is replaced, and by what.
    pub(crate) changes: Vec<(&'static str, String)>,
}

impl Case {
    pub(crate) fn new(engine: &str) -> Self {
        Self { system: EmptySystem::new(engine), env: String::new(), changes: Vec::new() }
    }

    /// Sets a variable of the launcher.
    pub(crate) fn env(mut self, variable: &str) -> Self {
        self.env += &format!("'{variable}' ");
        self
    }

    /// Changes what happens before the launcher starts.
    pub(crate) fn change(mut self, from: &'static str, to: &str) -> Self {
        self.changes.push((from, to.to_owned()));
        self
    }

    /// Commands that prepare the root, in its directory.
    pub(crate) fn prepare(self, commands: &str) -> Self {
        self.change("shift\n", &format!("{commands}\nshift\n"))
    }

    /// A hook with this script.
    pub(crate) fn hook(self, script: &str) -> Self {
        let script = script.replace('\n', "\\n");
        self.prepare(&format!("mkdir -p etc/dockerlaunch/pre.d; printf '{script}' > etc/dockerlaunch/pre.d/1; chmod +x etc/dockerlaunch/pre.d/1"))
    }

    pub(crate) fn launch(self, args: &[&str]) -> Output {
        self.staged().launch(args)
    }

    pub(crate) fn staged(self) -> EmptySystem {
        self.system.stage(|stage| {
            let stage = stage.replace("DOCKER_LAUNCH_DEBUG=true", &self.env);
            self.changes.iter().fold(stage, |stage, (from, to)| stage.replace(from, to))
        });
        self.system
    }

    /// The launcher as a child of a shell that is PID 1, and what that shell sees when it has ended.
    pub(crate) fn launch_below(self, args: &[&str], then: &str) -> Output {
        let shell =
            format!("chroot . sh -c '/launcher/dockerlaunch \"$@\"; echo \"status $?\"; {then}' sh \"$@\"");
        self.change("chroot . /launcher/dockerlaunch \"$@\"", &shell).launch(args)
    }
}

#[track_caller]
pub(crate) fn assert_has(output: &Output, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text(output).contains(wanted), "no `{wanted}` in:\n{}", text(output));
    }
}
