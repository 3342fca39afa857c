//! A picture that was refused for an unknown reason: is it the picture, or the place? Another
//! render is tried next, and what becomes of that one tells.

/// What is suspected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing, or the place: the next renders are taken in their order.
    #[default]
    NoRender,
    /// This render's picture was refused, and no other has been tried since.
    Render(i64),
    /// This render's picture was refused, and another one was made since.
    Proven(i64),
}

impl Suspicion {
    /// The picture of `render_id` was refused for a reason that nobody knows.
    pub(super) fn refused(&mut self, render_id: i64) {
        *self = match self {
            // Two pictures were refused, so the place is at fault, and trying all others is
            // useless.
            Suspicion::Render(first) if *first != render_id => Suspicion::NoRender,
            _ => Suspicion::Render(render_id),
        };
    }

    /// The picture of `render_id` was made.
    pub(super) fn made(&mut self, render_id: i64) {
        *self = match self {
            Suspicion::Render(suspect) | Suspicion::Proven(suspect) if *suspect != render_id => {
                Suspicion::Proven(*suspect)
            }
            _ => Suspicion::NoRender,
        };
    }

    /// The render beside which another one is looked for.
    pub(super) fn beside(self) -> Option<i64> {
        match self {
            Suspicion::Render(render_id) => Some(render_id),
            Suspicion::NoRender | Suspicion::Proven(_) => None,
        }
    }

    /// Whether another picture was made after that of `render_id` had been refused.
    pub(super) fn is_proven(self, render_id: i64) -> bool {
        self == Suspicion::Proven(render_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // chaos 2
    #[test]
    fn a_picture_made_elsewhere_proves_it_and_a_second_refusal_clears_it() {
        let mut suspicion = Suspicion::default();
        suspicion.refused(1);
        suspicion.refused(1);
        assert_eq!((suspicion.beside(), suspicion.is_proven(1)), (Some(1), false));
        let mut proven = suspicion;
        proven.made(2);
        proven.made(3);
        assert_eq!((proven.beside(), proven.is_proven(1)), (None, true), "tried again");
        assert!(!proven.is_proven(2));
        suspicion.refused(2);
        assert_eq!(suspicion, Suspicion::NoRender, "it is the place: no third one is tried");
        proven.made(1);
        assert_eq!(proven, Suspicion::NoRender);
    }
}
