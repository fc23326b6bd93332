use std::path::Path;

use super::Archive;

/// Name, mode and content of every entry, read as the format's description says.
fn entries(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut entries = Vec::new();
    while !archive.is_empty() {
        let (header, _) = archive.split_at(110);
        assert_eq!(&header[..6], b"070701");
        let number = |index: usize| {
            let digits = std::str::from_utf8(&header[6 + index * 8..][..8]).unwrap();
            usize::from_str_radix(digits, 16).unwrap()
        };
        let (mode, size, name_size) = (number(1), number(6), number(11));
        let name = &archive[110..110 + name_size];
        assert_eq!(name.last(), Some(&0));
        let name = String::from_utf8(name[..name_size - 1].to_vec()).unwrap();
        let content = (110 + name_size).next_multiple_of(4);
        let end = (content + size).next_multiple_of(4);
        let bytes = archive[content..content + size].to_vec();
        entries.push((name, mode as u32, bytes));
        archive = &archive[end..];
    }
    entries
}

#[test]
fn every_directory_comes_once_and_before_what_is_in_it() {
    let mut archive = Archive::default();
    archive.program(Path::new("/lib/x86/libc.so.6"), b"12345");
    archive.program(Path::new("/init"), b"first");
    archive.program(Path::new("/lib/ld.so"), b"");
    let names: Vec<_> = entries(&archive.finish())
        .into_iter()
        .map(|(name, mode, _)| (name, mode))
        .collect();
    let expected = [
        ("lib", 0o040_755),
        ("lib/x86", 0o040_755),
        ("lib/x86/libc.so.6", 0o100_755),
        ("init", 0o100_755),
        ("lib/ld.so", 0o100_755),
        ("TRAILER!!!", 0),
    ];
    assert_eq!(names, expected.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn contents_of_every_length_come_out_as_they_went_in() {
    let contents: Vec<Vec<u8>> = (0..9).map(|length| vec![b'x'; length]).collect();
    let mut archive = Archive::default();
    for (index, content) in contents.iter().enumerate() {
        archive.program(Path::new(&format!("/{}", "n".repeat(index + 1))), content);
    }
    let read: Vec<_> = entries(&archive.finish())
        .into_iter()
        .map(|(_, _, content)| content)
        .collect();
    assert_eq!(read[..contents.len()], contents);
}
