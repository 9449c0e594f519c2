//! The order of Debian versions.
#![no_main]

use dockerlaunch_image::Version;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|texts: (&str, &str, &str)| {
    let (a, b, c) = (Version::new(texts.0), Version::new(texts.1), Version::new(texts.2));
    assert!(a.cmp(&b) == b.cmp(&a).reverse());
    assert!(a.cmp(&a).is_eq());
    if a <= b && b <= c {
        assert!(a <= c);
    }
});
