//! Columns as rows fill them: a column that a row does not have costs it nothing.

use std::{str::FromStr, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Int32Array, Int64Array, ListArray, MapArray, NullBufferBuilder, StringArray,
        StructArray, TimestampMicrosecondArray,
    },
    buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer},
    datatypes::{DataType, FieldRef, Fields},
    error::ArrowError,
};
use jiff::Timestamp;

use super::reader::{NotARow, Reader};
use crate::audit::schema;

/// The columns of one struct, or of the table.
pub(super) struct Columns {
    fields: Fields,
    columns: Vec<Column>,
    /// The columns in the order of their names, which is that of the members of a row.
    order: Vec<usize>,
    required: Vec<usize>,
    rows: usize,
}

struct Column {
    /// Nulls at the end are not in it until something follows.
    nulls: NullBufferBuilder,
    values: Values,
}

enum Values {
    Text(Texts),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Micros(Vec<i64>),
    List(Offsets, Box<Column>, FieldRef),
    Struct(Columns),
    Map(Offsets, Texts, Box<Column>, FieldRef),
}

struct Texts {
    ends: Offsets,
    bytes: Vec<u8>,
}

/// Where each value ends in what holds them all.
struct Offsets(Vec<i32>);

impl Columns {
    pub(super) fn new(fields: &Fields) -> Self {
        let mut order: Vec<_> = (0..fields.len()).collect();
        order.sort_unstable_by_key(|index| fields[*index].name());
        let required = (0..fields.len()).filter(|index| !fields[*index].is_nullable());
        Self {
            columns: fields.iter().map(Column::new).collect(),
            order,
            required: required.collect(),
            rows: 0,
            fields: fields.clone(),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Reads one object as the next row.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), NotARow> {
        let mut order = self.order.iter();
        let mut more = reader.open(b'{', b'}')?;
        while more {
            let name = reader.plain()?;
            reader.expect(b':')?;
            let found = order.find(|index| self.fields[**index].name().as_bytes() == name);
            let index = *found.ok_or_else(|| no_column(name))?;
            self.columns[index].append(self.rows, reader)?;
            more = reader.goes_on(b'}')?;
        }
        self.rows += 1;
        self.check_required()
    }

    /// All rows so far, as arrays of the same length.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        let rows = std::mem::take(&mut self.rows);
        let columns = self.columns.iter_mut();
        columns.map(|column| column.finish(rows)).collect()
    }

    fn check_required(&self) -> Result<(), NotARow> {
        let missing = |index: &&usize| self.columns[**index].nulls.len() < self.rows;
        match self.required.iter().find(missing) {
            None => Ok(()),
            Some(index) => Err(NotARow::Missing {
                name: self.fields[*index].name().clone(),
            }),
        }
    }
}

impl Column {
    fn new(field: &FieldRef) -> Self {
        Self {
            nulls: NullBufferBuilder::new(0),
            values: Values::new(field.data_type()),
        }
    }

    /// Reads the value of the row after `rows` others.
    fn append(&mut self, rows: usize, reader: &mut Reader<'_>) -> Result<(), NotARow> {
        self.fill(rows);
        self.nulls.append_non_null();
        self.values.read(reader)
    }

    /// The rows up to here that have no value get a null.
    fn fill(&mut self, rows: usize) {
        let missing = rows - self.nulls.len();
        if missing > 0 {
            self.nulls.append_n_nulls(missing);
            self.values.skip(missing);
        }
    }

    fn finish(&mut self, rows: usize) -> Result<ArrayRef, ArrowError> {
        self.fill(rows);
        let nulls = self.nulls.finish();
        self.values.finish(nulls)
    }
}

impl Values {
    fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Utf8 => Self::Text(Texts::new()),
            DataType::Int32 => Self::Int32(Vec::new()),
            DataType::Int64 => Self::Int64(Vec::new()),
            DataType::Timestamp(..) => Self::Micros(Vec::new()),
            DataType::List(element) => Self::List(
                Offsets::new(),
                Box::new(Column::new(element)),
                Arc::clone(element),
            ),
            DataType::Struct(fields) => Self::Struct(Columns::new(fields)),
            DataType::Map(entry, _) => match entry.data_type() {
                DataType::Struct(fields) => Self::Map(
                    Offsets::new(),
                    Texts::new(),
                    Box::new(Column::new(&fields[1])),
                    Arc::clone(entry),
                ),
                other => unreachable!("a map's entries are structs, not {other}"),
            },
            other => unreachable!("the schema has no {other}"),
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), NotARow> {
        match self {
            Self::Text(texts) => texts.read(reader)?,
            Self::Int32(values) => values.push(parsed(reader.number()?, "a 32-bit number")?),
            Self::Int64(values) => values.push(parsed(reader.plain()?, "a decimal of 64 bits")?),
            Self::Micros(values) => {
                let time: Timestamp = parsed(reader.plain()?, "a time")?;
                values.push(time.as_microsecond());
            }
            Self::List(ends, elements, _) => {
                let mut count = ends.last();
                let mut more = reader.open(b'[', b']')?;
                while more {
                    elements.append(count, reader)?;
                    count += 1;
                    more = reader.goes_on(b']')?;
                }
                ends.push(count)?;
            }
            Self::Struct(columns) => columns.read(reader)?,
            Self::Map(ends, keys, values, _) => {
                let mut count = ends.last();
                let mut more = reader.open(b'{', b'}')?;
                while more {
                    keys.read(reader)?;
                    reader.expect(b':')?;
                    values.append(count, reader)?;
                    count += 1;
                    more = reader.goes_on(b'}')?;
                }
                ends.push(count)?;
            }
        }
        Ok(())
    }

    fn skip(&mut self, rows: usize) {
        match self {
            Self::Text(texts) => texts.ends.skip(rows),
            Self::Int32(values) => values.resize(values.len() + rows, 0),
            Self::Int64(values) | Self::Micros(values) => values.resize(values.len() + rows, 0),
            Self::List(ends, ..) | Self::Map(ends, ..) => ends.skip(rows),
            Self::Struct(columns) => columns.rows += rows,
        }
    }

    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Text(texts) => Arc::new(texts.finish(nulls)?),
            Self::Int32(values) => Arc::new(Int32Array::try_new(taken(values), nulls)?),
            Self::Int64(values) => Arc::new(Int64Array::try_new(taken(values), nulls)?),
            Self::Micros(values) => Arc::new(
                TimestampMicrosecondArray::try_new(taken(values), nulls)?
                    .with_data_type(schema::timestamp()),
            ),
            Self::List(ends, elements, field) => {
                let elements = elements.finish(ends.last())?;
                let field = Arc::clone(field);
                Arc::new(ListArray::try_new(field, ends.finish(), elements, nulls)?)
            }
            Self::Struct(columns) => {
                let arrays = columns.finish()?;
                Arc::new(StructArray::try_new(columns.fields.clone(), arrays, nulls)?)
            }
            Self::Map(ends, keys, values, field) => {
                let DataType::Struct(fields) = field.data_type() else {
                    unreachable!("checked when it was made");
                };
                let values = values.finish(ends.last())?;
                let pairs: Vec<ArrayRef> = vec![Arc::new(keys.finish(None)?), values];
                let entries = StructArray::try_new(fields.clone(), pairs, None)?;
                let field = Arc::clone(field);
                Arc::new(MapArray::try_new(
                    field,
                    ends.finish(),
                    entries,
                    nulls,
                    false,
                )?)
            }
        })
    }
}

impl Texts {
    fn new() -> Self {
        Self {
            ends: Offsets::new(),
            bytes: Vec::new(),
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), NotARow> {
        reader.string(&mut self.bytes)?;
        self.ends.push(self.bytes.len())
    }

    /// Checks that all of it is UTF-8.
    fn finish(&mut self, nulls: Option<NullBuffer>) -> Result<StringArray, ArrowError> {
        // The next batch is about as long.
        let next = Vec::with_capacity(self.bytes.len());
        let bytes = Buffer::from_vec(std::mem::replace(&mut self.bytes, next));
        StringArray::try_new(self.ends.finish(), bytes, nulls)
    }
}

impl Offsets {
    fn new() -> Self {
        Self(vec![0])
    }

    fn last(&self) -> usize {
        let last = self.0.last().expect("there is one more than values");
        *last as usize
    }

    fn push(&mut self, end: usize) -> Result<(), NotARow> {
        self.0
            .push(i32::try_from(end).map_err(|_| NotARow::TooLong)?);
        Ok(())
    }

    fn skip(&mut self, rows: usize) {
        self.0.resize(self.0.len() + rows, self.last() as i32);
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let mut next = Vec::with_capacity(self.0.len());
        next.push(0);
        OffsetBuffer::new(std::mem::replace(&mut self.0, next).into())
    }
}

fn taken<T: arrow::datatypes::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    ScalarBuffer::from(std::mem::take(values))
}

fn parsed<T: FromStr>(text: &[u8], expected: &'static str) -> Result<T, NotARow> {
    let value = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    value.ok_or_else(|| NotARow::NotOfType {
        text: String::from_utf8_lossy(text).into_owned(),
        expected,
    })
}

fn no_column(name: &[u8]) -> NotARow {
    NotARow::NoColumn {
        name: String::from_utf8_lossy(name).into_owned(),
    }
}
