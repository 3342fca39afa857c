//! The EXIF block of JPEG and WebP: `parameters` in UserComment, as A1111 writes it, and our JSON
//! in MakerNote, the field that the standard leaves to the maker.

use std::io::{self, Cursor};

use exif::experimental::Writer;
use exif::{Exif, Field, In, Tag, Value};

use super::metadata::{KEY, Metadata, SOFTWARE};

/// UserComment begins with the name of its encoding.
const UNICODE: &[u8] = b"UNICODE\0";

/// The block without container: a TIFF header and its fields.
pub fn encode(metadata: &Metadata) -> io::Result<Vec<u8>> {
    let mut comment = UNICODE.to_vec();
    comment.extend(metadata.parameters().encode_utf16().flat_map(u16::to_be_bytes));
    let note = format!("{KEY}\0{}", metadata.json()).into_bytes();
    let fields = [
        field(Tag::Software, Value::Ascii(vec![SOFTWARE.into()])),
        field(Tag::UserComment, Value::Undefined(comment, 0)),
        field(Tag::MakerNote, Value::Undefined(note, 0)),
    ];
    let mut writer = Writer::new();
    fields.iter().for_each(|field| writer.push_field(field));
    let mut block = Cursor::new(Vec::new());
    writer.write(&mut block, false).map_err(io::Error::other)?;
    Ok(block.into_inner())
}

fn field(tag: Tag, value: Value) -> Field {
    Field { tag, ifd_num: In::PRIMARY, value }
}

/// Our JSON in a block of ours.
pub fn json(exif: &Exif) -> Option<String> {
    let Value::Undefined(note, _) = &exif.get_field(Tag::MakerNote, In::PRIMARY)?.value else {
        return None;
    };
    let json = note.strip_prefix(KEY.as_bytes())?.strip_prefix(b"\0")?;
    String::from_utf8(json.to_vec()).ok()
}
