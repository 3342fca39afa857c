//! A document of a few kinds of blocks, written as Markdown or as one HTML page.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// How the page looks, by itself: nothing is fetched.
const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1d2330;--ground:#fff;--quiet:#565f70;--line:#c6ccd6;\
--head:#f0f2f6}@media(prefers-color-scheme:dark){:root{--ink:#d9dee7;--ground:#171b22;\
--quiet:#9aa4b2;--line:#3a424f;--head:#222833}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;\
color:var(--ink);background:var(--ground)}table{border-collapse:collapse;margin:1rem 0}\
th,td{border:1px solid var(--line);padding:.3rem .6rem;text-align:left;vertical-align:top}\
td:first-child,td.short{white-space:nowrap}th{background:var(--head)}td.long{overflow-wrap:anywhere}\
p,ul{max-width:60rem}div.scroll{overflow-x:auto}figure{margin:1rem 0}svg{max-width:100%;height:auto}\
figcaption{color:var(--quiet)}";

/// Words of a table that are longer are broken, and cells that are shorter stand on one line; in
/// bytes.
const WORD_MAX: usize = 40;
const SHORT_MAX: usize = 16;

/// A document in the order of reading.
pub struct Document {
    pub title: String,
    pub blocks: Vec<ReportBlock>,
}

/// One block of a document. Texts are plain: each form of the document escapes them.
pub enum ReportBlock {
    Heading(String),
    Paragraph(String),
    List(Vec<String>),
    Table { head: Vec<String>, rows: Vec<Vec<String>> },
    Figure(Figure),
}

/// A drawing.
pub struct Figure {
    /// Of its file beside the Markdown, without `.svg`.
    pub name: &'static str,
    pub caption: String,
    pub svg: Markup,
}

impl Document {
    pub fn figures(&self) -> impl Iterator<Item = &Figure> {
        self.blocks.iter().filter_map(|block| match block {
            ReportBlock::Figure(figure) => Some(figure),
            _ => None,
        })
    }

    /// As Markdown, whose drawings lie beside it.
    pub fn markdown(&self) -> String {
        let blocks: Vec<String> = self.blocks.iter().map(ReportBlock::markdown).collect();
        format!("# {}\n\n{}\n", plain(&self.title), blocks.join("\n\n"))
    }

    /// As one page with everything in it.
    pub fn html(&self) -> String {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    @for block in &self.blocks { (block.html()) }
                }
            }
        };
        page.into_string()
    }
}

impl ReportBlock {
    /// Its text, where it is a heading.
    #[cfg(test)]
    pub fn heading(&self) -> Option<&str> {
        match self {
            ReportBlock::Heading(text) => Some(text),
            _ => None,
        }
    }

    fn markdown(&self) -> String {
        match self {
            ReportBlock::Heading(text) => format!("## {}", plain(text)),
            ReportBlock::Paragraph(text) => plain(text),
            ReportBlock::List(items) => {
                let lines: Vec<String> =
                    items.iter().map(|item| format!("- {}", plain(item))).collect();
                lines.join("\n")
            }
            ReportBlock::Table { head, rows } => {
                let line = |cells: &[String]| {
                    let cells: Vec<String> = cells.iter().map(|cell| plain(cell)).collect();
                    format!("| {} |", cells.join(" | "))
                };
                let rule = format!("|{}", " --- |".repeat(head.len()));
                let rows = rows.iter().map(|row| line(row));
                [line(head), rule].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
            }
            ReportBlock::Figure(Figure { name, caption, .. }) => {
                format!("![{}]({name}.svg)", plain(caption))
            }
        }
    }

    fn html(&self) -> Markup {
        html! {
            @match self {
                ReportBlock::Heading(text) => h2 { (text) },
                ReportBlock::Paragraph(text) => p { (text) },
                ReportBlock::List(items) => ul { @for item in items { li { (item) } } },
                ReportBlock::Table { head, rows } => {
                    div.scroll { table {
                        @if head.iter().any(|cell| !cell.is_empty()) {
                            thead { tr { @for cell in head { th { (cell) } } } }
                        }
                        tbody { @for row in rows { tr { @for cell in row {
                            td class=[kind_of(cell)] { (cell) }
                        } } } }
                    } }
                }
                ReportBlock::Figure(Figure { caption, svg, .. }) => {
                    figure { (svg) figcaption { (caption) } }
                }
            }
        }
    }
}

/// The class of a cell. A hash may be broken anywhere, and a number not from its unit.
fn kind_of(cell: &str) -> Option<&'static str> {
    let has_long_word = cell.split(' ').any(|word| word.len() > WORD_MAX);
    let is_short = cell.len() <= SHORT_MAX && cell.contains(' ');
    has_long_word.then_some("long").or(is_short.then_some("short"))
}

/// A text that Markdown takes for nothing else: names of models and devices are not ours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                plain.extend(['\\', letter])
            }
            letter if letter.is_control() => plain.push(' '),
            letter => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document() -> Document {
        let svg = html! { svg { title { "a & b" } } };
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        Document {
            title: "A <card>".to_owned(),
            blocks: vec![
                ReportBlock::Heading("Times".to_owned()),
                ReportBlock::Paragraph("as_asked".to_owned()),
                ReportBlock::List(vec!["one".to_owned(), "two".to_owned()]),
                ReportBlock::Table { head: row(["size", "s"]), rows: vec![row(["64|64", "1"])] },
                ReportBlock::Figure(Figure { name: "times", caption: "All".to_owned(), svg }),
            ],
        }
    }

    #[test]
    fn markdown_has_every_block_and_takes_no_text_for_a_mark() {
        let expected = "# A \\<card\\>\n\n## Times\n\nas\\_asked\n\n- one\n- two\n\n\
                        | size | s |\n| --- | --- |\n| 64\\|64 | 1 |\n\n![All](times.svg)\n";
        assert_eq!(document().markdown(), expected);
    }

    #[test]
    fn the_page_fetches_nothing_and_escapes_every_text() {
        let page = document().html();
        assert!(page.contains("<title>A &lt;card&gt;</title>") && page.contains("a &amp; b"));
        assert!(page.contains("<td>64|64</td>") && page.contains("<figcaption>All</figcaption>"));
        let row = vec!["9.1 MB".to_owned(), "5a".repeat(32)];
        let hash = ReportBlock::Table { head: Vec::new(), rows: vec![row] }.html().into_string();
        assert!(hash.contains("<td class=\"short\">9.1 MB</td><td class=\"long\">5a5a"), "{hash}");
        for word in ["http:", "https:", "<script", "src="] {
            assert!(!page.contains(word), "{word}: {page}");
        }
    }
}
