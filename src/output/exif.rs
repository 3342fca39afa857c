//! The EXIF block: `parameters` in UserComment, as A1111 writes it; creation time, job file and
//! tags where viewers and catalogues look for them; in JPEG and WebP our JSON in a private tag.

use std::io::{self, Cursor};

use exif::experimental::Writer;
use exif::{Context, Exif, Field, In, Tag, Value};

use super::metadata::{KEY, Metadata, SOFTWARE};

/// UserComment begins with the name of its encoding.
const UNICODE: &[u8] = b"UNICODE\0";
const ASCII: &[u8] = b"ASCII\0\0\0";

/// TIFF's field for the document that a picture comes from: the job file.
const DOCUMENT_NAME: Tag = Tag(Context::Tiff, 0x010d);

/// What Windows, and catalogues after it, keep tags in: UTF-16 with semicolons.
const KEYWORDS: Tag = Tag(Context::Tiff, 0x9c9e);

/// Our JSON. Tags above 0x8000 are private, and no program is known to use this one. Earlier
/// versions wrote MakerNote, in which exiftool looks for a camera's.
const JSON: Tag = Tag(Context::Tiff, 0xd21a);

/// The version of EXIF that has time zones.
const EXIF_VERSION: &[u8] = b"0232";

/// The block of a format that has no other place for our JSON.
pub fn encode(metadata: &Metadata) -> io::Result<Vec<u8>> {
    let note = format!("{KEY}\0{}", metadata.json()).into_bytes();
    let mut fields = fields(metadata);
    fields.push(field(JSON, Value::Undefined(note, 0)));
    block(&fields)
}

/// The block without our JSON.
pub fn encode_facts(metadata: &Metadata) -> io::Result<Vec<u8>> {
    block(&fields(metadata))
}

fn fields(metadata: &Metadata) -> Vec<Field> {
    let mut comment = UNICODE.to_vec();
    comment.extend(metadata.parameters().encode_utf16().flat_map(u16::to_be_bytes));
    let text = |text: &str| Value::Ascii(vec![text.into()]);
    let mut fields = vec![
        field(Tag::ExifVersion, Value::Undefined(EXIF_VERSION.to_vec(), 0)),
        field(Tag::Software, text(SOFTWARE)),
        field(Tag::UserComment, Value::Undefined(comment, 0)),
    ];
    if let Some((time, offset)) = metadata.queue.created.as_deref().and_then(time_and_offset) {
        for tag in [Tag::DateTime, Tag::DateTimeOriginal, Tag::DateTimeDigitized] {
            fields.push(field(tag, text(&time)));
        }
        for tag in [Tag::OffsetTime, Tag::OffsetTimeOriginal, Tag::OffsetTimeDigitized] {
            fields.push(field(tag, text(offset)));
        }
    }
    fields.extend(metadata.queue.file.as_deref().map(|file| field(DOCUMENT_NAME, text(file))));
    if !metadata.queue.tags.is_empty() {
        let joined = metadata.queue.tags.join(";") + "\0";
        let units = joined.encode_utf16().flat_map(u16::to_le_bytes).collect();
        fields.push(field(KEYWORDS, Value::Byte(units)));
    }
    fields
}

/// `2026-11-24T22:05:01+01:00` as EXIF has it: `2026:11:24 22:05:01` and `+01:00`.
fn time_and_offset(created: &str) -> Option<(String, &str)> {
    let (time, offset) = created.split_at_checked("2026-11-24T22:05:01".len())?;
    let (date, time) = time.split_once('T')?;
    Some((format!("{} {time}", date.replace('-', ":")), offset))
}

/// A TIFF header and its fields, without container.
fn block(fields: &[Field]) -> io::Result<Vec<u8>> {
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
    let field = [JSON, Tag::MakerNote].iter().find_map(|tag| exif.get_field(*tag, In::PRIMARY))?;
    let Value::Undefined(note, _) = &field.value else { return None };
    let json = note.strip_prefix(KEY.as_bytes())?.strip_prefix(b"\0")?;
    String::from_utf8(json.to_vec()).ok()
}

/// ComfyUI's graph, which its WebP has where cameras write their model.
pub fn comfy_ui_graph(exif: &Exif) -> Option<String> {
    let Value::Ascii(texts) = &exif.get_field(Tag::Model, In::PRIMARY)?.value else { return None };
    let graph = texts.first()?.strip_prefix(b"prompt:")?;
    String::from_utf8(graph.to_vec()).ok()
}

/// The text that A1111 and others write into UserComment. Some write it in the other order of bytes
/// than the block has, so that the order is guessed: of most texts the first character is ASCII.
pub fn comment(exif: &Exif) -> Option<String> {
    // EXIF wants the first; Python's Pillow writes the second.
    let (Value::Undefined(comment, _) | Value::Byte(comment)) =
        &exif.get_field(Tag::UserComment, In::PRIMARY)?.value
    else {
        return None;
    };
    let Some(units) = comment.strip_prefix(UNICODE) else {
        return String::from_utf8(comment.strip_prefix(ASCII)?.to_vec()).ok();
    };
    let from_bytes = match units.first() {
        Some(0) => u16::from_be_bytes,
        _ if units.get(1) == Some(&0) => u16::from_le_bytes,
        _ => u16::from_be_bytes,
    };
    let units: Vec<u16> =
        units.chunks_exact(2).map(|pair| from_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::metadata::tests::metadata;

    fn read(block: Vec<u8>) -> Exif {
        exif::Reader::new().read_raw(block).expect("a block of ours")
    }

    /// newcomer 38
    #[test]
    fn a_block_says_when_from_which_file_and_with_which_tags_and_has_no_makers_note() {
        let block = encode(&metadata("a fox", "")).expect("small");
        let found = read(block);
        let shown = |tag| {
            let field = found.get_field(tag, In::PRIMARY).expect("a field");
            field.display_value().to_string()
        };
        assert_eq!(shown(Tag::DateTimeOriginal), "2026-11-24 22:05:01");
        assert_eq!(shown(Tag::OffsetTimeOriginal), "\"+01:00\"");
        let Value::Ascii(file) =
            &found.get_field(DOCUMENT_NAME, In::PRIMARY).expect("a file").value
        else {
            panic!("no text")
        };
        assert_eq!(file[0], "夜.toml".as_bytes());
        let Value::Byte(tags) = &found.get_field(KEYWORDS, In::PRIMARY).expect("tags").value else {
            panic!("no bytes")
        };
        let units: Vec<u16> =
            tags.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        assert_eq!(String::from_utf16(&units).expect("UTF-16"), "night;füchse\0");
        assert!(found.get_field(Tag::MakerNote, In::PRIMARY).is_none());
        assert_eq!(json(&found), Some(metadata("a fox", "").json()));
    }

    #[test]
    fn a_comment_is_read_as_pillow_writes_it_and_comfy_uis_graph_where_cameras_stand() {
        let comment = [UNICODE, b"\0f\0o\0x"].concat();
        let pillow = block(&[field(Tag::UserComment, Value::Byte(comment))]).expect("small");
        assert_eq!(super::comment(&read(pillow)).as_deref(), Some("fox"));
        let camera = |words: &[u8]| {
            let model = field(Tag::Model, Value::Ascii(vec![words.to_vec()]));
            comfy_ui_graph(&read(block(&[model]).expect("small")))
        };
        assert_eq!(camera(b"prompt:{}").as_deref(), Some("{}"));
        assert_eq!(camera(b"EOS 5D"), None);
    }

    #[test]
    fn earlier_pictures_have_their_json_in_the_makers_note_and_some_no_time() {
        let note = b"zimaged\0{}".to_vec();
        let earlier = block(&[field(Tag::MakerNote, Value::Undefined(note, 0))]).expect("small");
        assert_eq!(json(&read(earlier)).as_deref(), Some("{}"));
        let mut metadata = metadata("a fox", "");
        metadata.queue.created = None;
        let found = read(encode_facts(&metadata).expect("small"));
        assert!(found.get_field(Tag::DateTimeOriginal, In::PRIMARY).is_none());
        assert_eq!(json(&found), None);
    }
}
