//! Cells of tables whose rows become cards where there is no room for columns.

use maud::{Markup, Render, html};

/// A cell with the name of its column, which stands before it on a card.
pub fn cell(column: &str, content: impl Render) -> Markup {
    html! { td data-column=(column) { (content) } }
}

/// The same for a number.
pub fn number(column: &str, content: impl Render) -> Markup {
    html! { td.number data-column=(column) { (content) } }
}
