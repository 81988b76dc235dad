//! A conversation with a command that stops where a fault plan says: before its work, or behind it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::faults::Hold;

/// One conversation, and what is to be held back of it.
pub struct Held {
    /// None where nothing is: then no byte is looked at.
    state: Option<Mutex<State>>,
}

struct State {
    waiting: Vec<(Hold, Search)>,
    /// The hold that a question has met, and the search for its answer.
    met: Option<(Hold, Search)>,
    closed_in: bool,
    closed_out: bool,
}

impl Held {
    /// Begins a conversation.
    pub fn new(holds: &[Hold]) -> Self {
        let waiting: Vec<_> = holds.iter().map(|hold| (hold.clone(), Search::new(&hold.asked))).collect();
        let state = State { waiting, met: None, closed_in: false, closed_out: false };
        Self { state: (!holds.is_empty()).then(|| Mutex::new(state)) }
    }

    /// Returns whether a piece of input may reach the command.
    pub fn lets_in(&self, piece: &[u8]) -> bool {
        let Some(mut state) = self.lock() else { return true };
        let mut stops = None;
        for (hold, search) in &mut state.waiting {
            for _ in 0..search.finds(piece) {
                if hold.meet() {
                    stops = Some(hold.clone());
                }
            }
        }
        match stops {
            Some(hold) if hold.answered.is_none() => {
                hold.hold();
                state.closed_in = true;
            }
            Some(hold) => {
                let search = Search::new(hold.answered.as_deref().unwrap_or_default());
                state.met = Some((hold, search));
            }
            None => {}
        }
        !state.closed_in
    }

    /// Returns whether a piece of output may reach the client.
    pub fn lets_out(&self, piece: &[u8]) -> bool {
        let Some(mut state) = self.lock() else { return true };
        if let Some((hold, search)) = &mut state.met
            && search.finds(piece) > 0
        {
            hold.hold();
            state.closed_out = true;
        }
        !state.closed_out
    }

    fn lock(&self) -> Option<MutexGuard<'_, State>> {
        self.state.as_ref().map(|state| state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Looks for text in bytes that come in pieces.
struct Search {
    text: Vec<u8>,
    /// The end of what has come, too short to hold the text.
    tail: Vec<u8>,
}

impl Search {
    fn new(text: &str) -> Self {
        Self { text: text.as_bytes().to_vec(), tail: Vec::new() }
    }

    /// Returns how often the text ends in the next piece.
    fn finds(&mut self, piece: &[u8]) -> usize {
        if self.text.is_empty() {
            return 0;
        }
        self.tail.extend_from_slice(piece);
        let found = self.tail.windows(self.text.len()).filter(|window| *window == self.text).count();
        self.tail.drain(..self.tail.len().saturating_sub(self.text.len() - 1));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(text: &str) -> Hold {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_question_that_is_meant_does_not_pass_though_it_comes_in_pieces() {
        let hold = hold(r#"{"asked": "clone", "skip": 1}"#);
        let held = Held::new(std::slice::from_ref(&hold));
        assert!(held.lets_in(b"cl") && held.lets_in(b"one cl"));
        assert!(!held.lets_in(b"one"));
        assert!(!held.lets_in(b"more") && held.lets_out(b"clone"));
    }

    #[test]
    fn an_answer_is_held_once_the_question_that_is_meant_was_asked() {
        let hold = hold(r#"{"asked": "clone", "answered": "result"}"#);
        let held = Held::new(std::slice::from_ref(&hold));
        assert!(held.lets_out(b"result"), "to another question");
        assert!(held.lets_in(b"clone") && held.lets_out(b"alive"));
        assert!(!held.lets_out(b"result"));
        assert!(!held.lets_out(b"and more"));
    }

    #[test]
    fn conversations_of_one_plan_count_together() {
        let hold = hold(r#"{"asked": "clone", "skip": 1}"#);
        let [first, second] = [(); 2].map(|()| Held::new(std::slice::from_ref(&hold)));
        assert!(first.lets_in(b"clone"));
        assert!(!second.lets_in(b"clone"));
    }
}
