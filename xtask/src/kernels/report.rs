use std::{fmt, time::Duration};

use crate::progress::seconds;

const KERNEL: &str = "kernel ";
const ENDED: &str = "tests ended with exit status: ";

/// What a machine wrote: which kernel it runs, what the test binary printed, and how that ended.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Report {
    passed: usize,
    time: Duration,
}

impl Report {
    /// Reads a report; an error says why it is not that of tests that all passed on this kernel.
    pub(super) fn read(text: &str, release: &str, time: Duration) -> Result<Self, String> {
        let find = |start| text.lines().find_map(|line| line.strip_prefix(start));
        let Some(kernel) = find(KERNEL) else {
            return Err("the machine ended before it could say which kernel it runs".to_owned());
        };
        if kernel != release {
            return Err(format!("the machine runs {kernel}, not {release}"));
        }
        let Some(status) = find(ENDED) else {
            return Err("the machine ended before the tests did".to_owned());
        };
        let outcomes = |wanted| {
            text.lines()
                .filter_map(outcome)
                .filter(move |(_, outcome)| *outcome == wanted)
        };
        let failed: Vec<_> = outcomes("FAILED").map(|(test, _)| test).collect();
        match (outcomes("ok").count(), &failed[..], status) {
            (0, [], "0") => Err("no test ran".to_owned()),
            (passed, [], "0") => Ok(Self { passed, time }),
            (_, [], _) => Err(format!("the tests ended with {status}")),
            _ => Err(format!("failed: {}", failed.join(", "))),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed in {}", self.passed, seconds(self.time))
    }
}

/// `test name ... ok`.
fn outcome(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("test ")?.split_once(" ... ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Report;

    const GOOD: &str = "\
kernel 6.1.0-56-amd64

running 3 tests
test a_first ... ok
test b_second ... ok
test c_third ... ignored

test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.19s

tests ended with exit status: 0
";

    fn read(text: &str) -> Result<usize, String> {
        let report = Report::read(text, "6.1.0-56-amd64", Duration::ZERO);
        report.map(|report| report.passed)
    }

    #[test]
    fn tests_that_passed_are_counted() {
        assert_eq!(read(GOOD), Ok(2));
    }

    #[test]
    fn a_failed_test_is_named() {
        let text = GOOD
            .replace("b_second ... ok", "b_second ... FAILED")
            .replace("status: 0", "status: 101");
        assert_eq!(read(&text), Err("failed: b_second".to_owned()));
    }

    #[test]
    fn a_report_that_breaks_off_anywhere_is_not_one_of_success() {
        for lines in 0..GOOD.lines().count() {
            let cut: String = GOOD.split_inclusive('\n').take(lines).collect();
            assert!(read(&cut).is_err(), "{cut}");
        }
    }

    #[test]
    fn tests_that_ended_badly_or_never_ran_have_not_passed() {
        for text in [
            GOOD.replace("status: 0", "status: 101"),
            GOOD.replace("exit status: 0", "signal: 11 (SIGSEGV)"),
            GOOD.replace("... ok", "... ignored"),
            GOOD.replace("kernel 6.1.0-56-amd64", "kernel 6.12.117+deb12-amd64"),
        ] {
            assert!(read(&text).is_err(), "{text}");
        }
    }
}
