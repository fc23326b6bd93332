use ::parquet::{arrow::ArrowSchemaConverter, schema::printer::print_schema};

use super::*;

fn parquet_schema() -> String {
    let schema = ArrowSchemaConverter::new()
        .schema_root("calls")
        .convert(&calls())
        .unwrap();
    let mut text = Vec::new();
    print_schema(&mut text, schema.root_schema());
    String::from_utf8(text).unwrap()
}

/// Readers' queries name these columns. Add to the file; change nothing that is in it.
#[test]
fn no_column_is_renamed() {
    assert_eq!(parquet_schema(), include_str!("calls.txt"));
}

#[test]
fn only_the_digest_is_not_part_of_the_canonical_row() {
    let (all, canonical) = (calls(), canonical());
    let without = all
        .fields()
        .iter()
        .filter(|field| field.name() != RECORD_DIGEST);
    assert!(canonical.fields().iter().eq(without));
    assert_eq!(canonical.fields().len() + 1, all.fields().len());
}
