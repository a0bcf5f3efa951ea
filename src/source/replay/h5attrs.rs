//! Attributes of an object of an HDF5 file: numbers and texts, however they are written.

use std::collections::HashMap;

use hdf5_pure::AttrValue;

/// Attributes of one object, all read at once.
#[derive(Default)]
pub(super) struct Attrs(pub(super) HashMap<String, AttrValue>);

impl Attrs {
    /// A number, also when it is written as text; not NaN.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.numbers(name).first().copied().filter(|value| !value.is_nan())
    }

    /// A whole number, not rounded through a double.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        match self.0.get(name)? {
            AttrValue::I64(v) => Some(*v),
            AttrValue::U64(v) => i64::try_from(*v).ok(),
            _ => self.number(name).filter(|v| v.fract() == 0.0 && v.abs() < 1e15).map(|v| v as i64),
        }
    }

    /// One number or all of an array.
    pub(super) fn numbers(&self, name: &str) -> Vec<f64> {
        use AttrValue as A;
        let all = |values: &mut dyn Iterator<Item = f64>| values.collect();
        match self.0.get(name) {
            Some(A::F32(v)) => vec![f64::from(*v)],
            Some(A::F64(v)) => vec![*v],
            Some(A::I8(v)) => vec![f64::from(*v)],
            Some(A::I16(v)) => vec![f64::from(*v)],
            Some(A::I32(v)) => vec![f64::from(*v)],
            Some(A::I64(v)) => vec![*v as f64],
            Some(A::U8(v)) => vec![f64::from(*v)],
            Some(A::U16(v)) => vec![f64::from(*v)],
            Some(A::U32(v)) => vec![f64::from(*v)],
            Some(A::U64(v)) => vec![*v as f64],
            Some(A::F32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::F64Array(v)) => v.clone(),
            Some(A::I8Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I16Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::I64Array(v)) => all(&mut v.iter().map(|&v| v as f64)),
            Some(A::U8Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U16Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U32Array(v)) => all(&mut v.iter().map(|&v| f64::from(v))),
            Some(A::U64Array(v)) => all(&mut v.iter().map(|&v| v as f64)),
            _ => self.texts(name).iter().filter_map(|text| text.parse().ok()).collect(),
        }
    }

    /// A text; empty ones and `NaN` count as not there.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.texts(name).into_iter().next().filter(|text| !text.is_empty() && text != "NaN")
    }

    /// One text or all of an array.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        use AttrValue as A;
        let all = match self.0.get(name) {
            Some(
                A::String(v)
                | A::AsciiString(v)
                | A::VarLenString(v)
                | A::VarLenAsciiString(v)
                | A::StringSized { value: v, .. }
                | A::AsciiStringSized { value: v, .. },
            ) => std::slice::from_ref(v),
            Some(
                A::StringArray(v)
                | A::AsciiStringArray(v)
                | A::VarLenStringArray(v)
                | A::VarLenAsciiStringArray(v)
                | A::VarLenAsciiCharArray(v)
                | A::StringArraySized { values: v, .. }
                | A::AsciiStringArraySized { values: v, .. },
            ) => v.as_slice(),
            _ => &[],
        };
        all.iter().map(|text| tidy(text)).collect()
    }

    /// Names of all attributes.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is such an attribute.
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

/// Without what fills a text up to its length.
pub(super) fn tidy(text: &str) -> String {
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_owned()
}
