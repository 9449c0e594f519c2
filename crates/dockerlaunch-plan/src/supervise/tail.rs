//! The last lines of a stream.

use std::collections::VecDeque;

/// As many as a person reads.
const LINES: usize = 50;

/// A longer line is cut off: the whole must stay small in PID 1's memory.
const LINE: usize = 1000;

/// Keeps the last lines of what it is fed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    lines: VecDeque<Vec<u8>>,
    /// The last one has not ended yet.
    open: bool,
}

impl Tail {
    /// Takes in the next piece of the stream.
    pub fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.open {
                if self.lines.len() == LINES {
                    self.lines.pop_front();
                }
                self.lines.push_back(Vec::new());
            }
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            if let Some(line) = self.lines.back_mut() {
                let room = LINE.saturating_sub(line.len()).min(text.len());
                line.extend_from_slice(&text[..room]);
            }
            self.open = text.len() == piece.len();
        }
    }

    /// The lines, the oldest first.
    pub fn lines(&self) -> Vec<String> {
        self.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_in_any_pieces() {
        let mut tail = Tail::default();
        ["on", "e\ntw", "", "o\n", "\nlast"].iter().for_each(|piece| tail.feed(piece.as_bytes()));
        assert_eq!(tail.lines(), ["one", "two", "", "last"]);
    }

    proptest::proptest! {
        /// However a stream is cut into pieces, the same last lines stay, and no more memory is held than that.
        #[test]
        fn pieces_do_not_matter(text in "(a{0,3}\n|b{900,1100}\n|c){0,80}", size in 1usize..200) {
            let mut tail = Tail::default();
            text.as_bytes().chunks(size).for_each(|piece| tail.feed(piece));
            let all: Vec<String> = text.lines().map(|line| line.chars().take(LINE).collect()).collect();
            let last = all.iter().skip(all.len().saturating_sub(LINES)).cloned().collect::<Vec<_>>();
            proptest::prop_assert_eq!(tail.lines(), last);
        }
    }
}
