//! Whatever flags and files say.

use proptest::prelude::*;

use super::*;

/// Any value, and often one that fits.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|b| json!(b)),
        (0..3).prop_map(|n| json!(n)),
        "[a-c]=?[0-2]?".prop_map(|s| json!(s))
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            proptest::collection::btree_map("(a|b|mtu|http-proxy|labels)", inner, 0..3)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    let key = "(mtu|debug|dns|labels|log-opts|hosts|proxies|insecure-registries|host-gateway-ips?|default-network-opts|runtimes|builder|x)";
    proptest::collection::btree_map(key, value(), 0..5).prop_map(|m| Value::Object(m.into_iter().collect()))
}

fn flags() -> impl Strategy<Value = String> {
    let one = "(-D|--debug=false|--mtu [0-2]|--dns=[0-2]|--label [a-c]=[0-2]|--log-opt=[a-c]=[0-2]|-H fd://|--insecure-registry=[a-c]|--host-gateway-ip=[0-2]|--default-network-opt=a=b=[0-2]|--http-proxy=[a-c]|--add-runtime=a=b|--config-file=/x)";
    proptest::collection::vec(one, 0..5).prop_map(|list| list.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn flags_and_file_never_conflict(args in flags(), under in object(), over in proptest::option::of(object())) {
        let merged = match merged(&args, over.map(|o| o.to_string()).as_deref(), Some(&under.to_string())) {
            Ok(merged) => merged,
            Err(problem) => {
                prop_assert!(problem.what.starts_with('`') && !problem.hints.is_empty(), "{}", problem);
                return Ok(());
            }
        };
        let file = match &merged.file {
            Some(text) => serde_json::from_str(text).expect("JSON"),
            None => under,
        };
        let Value::Object(file) = file else { panic!("object") };
        prop_assert_eq!(conflicts(&file, &merged.args), Vec::<String>::new(), "{:?}", merged);
        // Nothing of the command line is lost but the place of the file.
        let words: Vec<String> = args.split_whitespace().map(str::to_owned).collect();
        for option in given(&words).iter().filter(|option| option.name != "config-file") {
            let is_on_line = given(&merged.args).contains(option);
            let value = option.value.unwrap_or_default();
            let entry = |outer: &str, key: &str| file.get(outer).is_some_and(|o| !o.is_object() || o.get(key).is_some());
            let is_in_file = match option.name {
                "log-opt" => entry("log-opts", value.split('=').next().unwrap_or_default()),
                "http-proxy" => entry("proxies", "http-proxy"),
                _ => false,
            };
            prop_assert!(is_on_line || is_in_file, "{:?} is lost: {:?}", option, merged);
        }
    }

    #[test]
    fn the_strongest_source_has_its_way(line in proptest::option::of(0..3), over in proptest::option::of(0..3), under in proptest::option::of(0..3)) {
        let object = |n: Option<i32>| n.map_or(json!({}), |n| json!({"mtu": n})).to_string();
        let merged = merged(&line.map_or_else(String::new, |n| format!("--mtu={n}")), Some(&object(over)), Some(&object(under))).expect("merge");
        let file: Value = serde_json::from_str(&merged.file.unwrap_or_else(|| object(under))).expect("JSON");
        let flag = given(&merged.args).iter().find(|o| o.name == "mtu").and_then(|o| o.value.map(str::to_owned));
        let effective = flag.or_else(|| file.get("mtu").map(ToString::to_string));
        prop_assert_eq!(effective, line.or(over).or(under).map(|n| n.to_string()));
    }

    #[test]
    fn never_panics(under in r#"[\[\]{}",:a1\n ]{0,16}"#, over in r#"[\[\]{}",:a1\n ]{0,16}"#) {
        let _ = merged("--a=1", Some(&over), Some(&under));
    }
}
