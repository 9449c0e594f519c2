//! How many tests ran, read from the closing lines of the runners.

/// Sums over all the closing lines of one output.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    pub(crate) ignored: usize,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// Reads `cargo test` (libtest and libtest-mimic), nextest and libFuzzer. What nextest calls skipped is not counted: there it means
/// filtered out, which another tier runs.
pub(crate) fn read(output: &str) -> Count {
    let mut count = Count::default();
    // What a test that failed under nextest has printed holds the closing line of its own runner.
    let nextest = output.lines().any(|line| line.trim().starts_with("Summary ["));
    for line in output.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("test result: ").filter(|_| !nextest) {
            count += Count {
                passed: before(rest, "passed"),
                failed: before(rest, "failed"),
                ignored: before(rest, "ignored"),
            };
        } else if let Some(rest) = line.strip_prefix("Summary [") {
            let flaky_or_failed = before(rest, "failed") + before(rest, "timed out");
            count += Count { passed: before(rest, "passed"), failed: flaky_or_failed, ignored: 0 };
        } else if line.starts_with("Done ") && line.contains(" runs in ") {
            // A fuzz target that found nothing in its time.
            count.passed += 1;
        }
    }
    count
}

/// The lines of one output that tell which tests failed, and why: their names, and what stands below each panic.
pub(crate) fn failures(output: &str) -> Vec<&str> {
    const BELOW: usize = 25;
    let mut told = Vec::new();
    let mut left = 0;
    for line in output.lines() {
        let start = line.trim_start();
        if line.contains("panicked at ") {
            left = BELOW;
        }
        let is_name = ["FAIL [", "TIMEOUT [", "SIGNAL [", "error: ", "error["]
            .iter()
            .any(|word| start.starts_with(word))
            || start.starts_with("test ") && start.ends_with("FAILED");
        if left > 0 || is_name && !told.contains(&line) {
            told.push(line);
        }
        left = left.saturating_sub(1);
    }
    told
}

/// The number that stands before `word`.
fn before(line: &str, word: &str) -> usize {
    let Some((left, _)) = line.split_once(&format!(" {word}")) else { return 0 };
    left.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_of_cargo_test_add_up() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.11s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1s\n";
        assert_eq!(read(output), Count { passed: 13, failed: 2, ignored: 1 });
    }

    #[test]
    fn closing_line_of_nextest() {
        let good = "     Summary [   0.010s] 12 tests run: 12 passed, 3 skipped\n";
        assert_eq!(read(good), Count { passed: 12, failed: 0, ignored: 0 });
        let bad =
            "     Summary [  61.3s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 0 skipped\n";
        assert_eq!(read(bad), Count { passed: 9, failed: 3, ignored: 0 });
    }

    #[test]
    fn a_failure_under_nextest_counts_once() {
        let output = "test result: FAILED. 0 passed; 1 failed; 0 ignored\n  Summary [ 3.0s] 2 tests run: 1 passed, 1 failed, 0 skipped\n";
        assert_eq!(read(output), Count { passed: 1, failed: 1, ignored: 0 });
    }

    #[test]
    fn what_failed_is_found_in_a_long_log() {
        let output = "PASS [ 0.1s] a\nFAIL [ 0.1s] (2/3) x ns_b\n\nthread 'ns_b' panicked at b.rs:1:\nleft: 1\nPASS c\nFAIL [ 0.1s] (2/3) x ns_b\n";
        let told = failures(output);
        assert_eq!(told.first(), Some(&"FAIL [ 0.1s] (2/3) x ns_b"));
        assert!(told.contains(&"left: 1") && !told.contains(&"PASS [ 0.1s] a"), "{told:?}");
        assert_eq!(failures("test x ... ok\ntest y ... FAILED\n"), ["test y ... FAILED"]);
    }

    #[test]
    fn closing_line_of_a_fuzz_target() {
        assert_eq!(read("Done 451979 runs in 9 second(s)\n"), Count { passed: 1, failed: 0, ignored: 0 });
    }

    #[test]
    fn other_lines_count_nothing() {
        assert_eq!(read("12 passed\ntest result\nSummary: 3 passed"), Count::default());
    }
}
