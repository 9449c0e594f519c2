//! What the kernel answers to a question for its routes.
#![no_main]

use dockerlaunch_plan::facts::network;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|dump: &[u8]| {
    let routes = network::parse_routes(dump);
    // A next hop has eight bytes.
    assert!(routes.len() <= dump.len() / 8);
    network::is_end(dump);
});
