use super::*;

fn of(name: &str, value: &str) -> (Settings, Option<Problem>) {
    Settings::parse(&BTreeMap::from([(name.to_owned(), value.to_owned())]))
}

#[test]
fn every_form_of_the_table_is_understood() {
    for setting in SETTINGS {
        for form in setting.forms {
            assert_eq!(of(setting.name, form).1, None, "{}={form}", setting.name);
        }
        assert_eq!(of(setting.name, ""), (Settings::default(), None), "{}=", setting.name);
    }
}

#[test]
fn modes_are_octal() {
    for (text, wanted) in [("660", 0o660), ("0600", 0o600), ("0o777", 0o777)] {
        assert_eq!(of("DOCKERLAUNCH_SOCKET_MODE", text).0.socket_mode, wanted, "{text}");
    }
    for text in ["rw-rw----", "0888", "+660", "1777"] {
        let mistake = of("DOCKERLAUNCH_SOCKET_MODE", text).1.expect(text);
        assert_eq!(mistake.hints[0].command.as_deref(), Some("DOCKERLAUNCH_SOCKET_MODE=0660"), "{text}");
    }
}

#[test]
fn values_mean_what_they_say() {
    let sign = |gone| FileSign { path: "/x:y".into(), gone };
    let seconds = Duration::from_secs;
    assert_eq!(of("DOCKERLAUNCH_STOP_TIMEOUT", "20").0.stop_timeout, Some(seconds(20)));
    assert_eq!(of("DOCKERLAUNCH_DRAIN", "containers-idle").0.drain, Some(Drain::ContainersIdle));
    assert_eq!(of("DOCKERLAUNCH_DRAIN", "file:/x:y").0.drain, Some(Drain::File(sign(false))));
    assert_eq!(of("DOCKERLAUNCH_DRAIN", "delay:1m").0.drain, Some(Drain::Delay(seconds(60))));
    assert_eq!(of("DOCKERLAUNCH_EXIT_WITH", "file-gone:/x:y").0.exit_with, Some(ExitWith::File(sign(true))));
    assert_eq!(of("DOCKERLAUNCH_EXIT_WITH", "pid:7").0.exit_with, Some(ExitWith::Pid(7)));
    assert_eq!(of("DOCKER_LAUNCH_DEBUG", "true").0.log_level, LogLevel::Debug);
}

#[test]
fn nonsense_is_refused_with_the_expected_form_and_the_nearest_word() {
    for (name, value, expected, nearest) in [
        ("DOCKERLAUNCH_STOP_TIMEOUT", "soon", "`8s`", "=8s"),
        ("DOCKERLAUNCH_DRAIN", "container-idle", "`containers-idle`", "=containers-idle"),
        ("DOCKERLAUNCH_DRAIN", "file:relative", "`file:/path`", "=file"),
        ("DOCKERLAUNCH_RESTART", "allways", "`on-failure:5`", "=always"),
        ("DOCKERLAUNCH_RESTART", "on-failure:-1", "`on-failure`", "=on-failure"),
        ("DOCKERLAUNCH_EXIT_WITH", "pid:0", "`pid:17`", "=pid:17"),
        ("DOCKERLAUNCH_ENGINE_LOG", "log", "`/path`", "=/path"),
        ("DOCKERLAUNCH_LOG_LEVEL", "verbose", "`debug`", "=error"),
    ] {
        let problem = of(name, value).1.expect(value);
        assert!(problem.what.contains(name) && problem.what.contains(value), "{problem}");
        assert!(problem.causes[0].contains(expected), "{problem}");
        assert!(problem.hints[0].command.as_ref().is_some_and(|c| c.contains(nearest)), "{problem}");
    }
}

#[test]
fn a_name_that_does_not_exist_is_refused_with_the_nearest_one() {
    let command = |name| of(name, "x").1.and_then(|problem| problem.hints[0].command.clone());
    assert_eq!(command("DOCKERLAUNCH_RESTRAT").as_deref(), Some("DOCKERLAUNCH_RESTART"));
    assert_eq!(command("DOCKERLAUNCH_FROBNICATE").as_deref(), Some("dockerlaunch --help"));
    for name in [
        "DOCKERLAUNCH_PORT",
        "DOCKERLAUNCH_PORT_2376_TCP",
        "DOCKERLAUNCH_SERVICE_HOST",
        "DOCKERLAUNCH_X_SERVICE_PORT",
        "DOCKER_X",
    ] {
        assert_eq!(command(name), None, "{name}");
    }
}

#[test]
fn all_mistakes_are_told_together() {
    let env = [("DOCKERLAUNCH_DRAIN", "x"), ("DOCKERLAUNCH_RESTART", "y"), ("DOCKERLAUNCH_Z", "z")];
    let env = env.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let problem = Settings::parse(&env).1.expect("three mistakes");
    assert_eq!((problem.causes.len(), problem.hints.len()), (4, 3), "{problem}");
}

proptest::proptest! {
    #[test]
    fn never_panics(setting in 0..SETTINGS.len(), value in "[a-z:/0-9-]{0,20}|.{0,10}") {
        let _ = of(SETTINGS[setting].name, &value);
    }
}
