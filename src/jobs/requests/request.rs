//! What clients ask for, as it stands in their JSON. Nothing is checked here but types: the rules are in
//! [`rules`](super::rules).
//!
//! `null` is the same as absent everywhere, so every field is an `Option`; fields that nobody knows are kept by name
//! only to be told in the log. (They also make every struct here an object and nothing else: serde would otherwise take a
//! list for one.)

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Number, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};

/// Body of `POST /configure`.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ConfigureRequest {
    /// 0 several channels, 1 a single channel, 2 waterfall; a number or a numeric string.
    #[schema(required = true, schema_with = view_type_schema)]
    pub view_type: Option<ViewType>,
    /// Channels, from 1, both ends included; a single channel has `min` = `max`.
    #[schema(required = true, value_type = ChannelRange)]
    pub channels: Option<ChannelRange>,
    /// The client's display.
    #[serde(rename = "displayInfo")]
    #[schema(required = true, value_type = DisplayInfo)]
    pub display_info: Option<DisplayInfo>,
    /// Seconds that the display shows. Required but for a waterfall, which takes none (or 1).
    #[serde(rename = "displayTimeAxisDuration")]
    #[schema(value_type = Option<f64>, exclusive_minimum = 0.0, example = 10)]
    pub duration_s: Option<Number>,
    /// Window length in traces, a power of 2. Required but for a waterfall, which takes none (or 1).
    #[serde(rename = "nfftSelection")]
    #[schema(schema_with = nfft_schema)]
    pub nfft: Option<i64>,
    /// Hz; without it 0 to half the PRR. A waterfall takes none.
    #[serde(rename = "frequencyRange")]
    pub frequency_range: Option<FrequencyRange>,
    /// How values are stored in frames by WebSocket and RabbitMQ: `f16` with a scale in each frame, which is the
    /// default, or `f32`.
    #[schema(schema_with = dtype_schema)]
    pub dtype: Option<String>,
    /// Begin of a recording, seconds since the UNIX epoch; without it the job is live.
    #[schema(example = json!(null))]
    pub start_time: Option<i64>,
    /// End of a recording, seconds since the UNIX epoch; without it the job is live.
    #[schema(example = json!(null))]
    pub end_time: Option<i64>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// Neighbouring channels.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct ChannelRange {
    /// First channel.
    #[schema(required = true, value_type = i64, minimum = 1, example = 1)]
    pub min: Option<i64>,
    /// Last channel.
    #[schema(required = true, value_type = i64, minimum = 1, example = 3)]
    pub max: Option<i64>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// A client's display.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct DisplayInfo {
    /// Lines that it shows.
    #[schema(required = true, value_type = i64, minimum = 1, example = 200)]
    pub height: Option<i64>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// Frequencies, Hz.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct FrequencyRange {
    /// Lowest; with neither it is as if there were no range.
    #[schema(minimum = 0.0, example = 0)]
    pub min: Option<f64>,
    /// Highest.
    #[schema(minimum = 0.0, example = 500)]
    pub max: Option<f64>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// What stands in `view_type`, whether there is such a view or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewType {
    /// A number, also when it was written as a string.
    Number(i64),
    /// Anything else, as JSON.
    Other(String),
}

impl<'de> Deserialize<'de> for ViewType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let number = match &value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        Ok(number.map_or_else(|| Self::Other(value.to_string()), Self::Number))
    }
}

impl ConfigureRequest {
    /// Names of fields that nobody knows, dotted.
    pub fn unknown_fields(&self) -> Vec<String> {
        let mut names = keys("", Some(&self.unknown));
        names.extend(keys("channels.", self.channels.as_ref().map(|c| &c.unknown)));
        names.extend(keys("displayInfo.", self.display_info.as_ref().map(|d| &d.unknown)));
        names.extend(keys("frequencyRange.", self.frequency_range.as_ref().map(|r| &r.unknown)));
        names
    }
}

impl TaskRequest {
    /// Names of fields that nobody knows, dotted.
    pub fn unknown_fields(&self) -> Vec<String> {
        let mut names = keys("", Some(&self.unknown));
        names.extend(keys("canvasInfo.", self.canvas_info.as_ref().map(|c| &c.unknown)));
        names.extend(keys("sensors.", self.sensors.as_ref().map(|s| &s.unknown)));
        names.extend(keys("frequencyRange.", self.frequency_range.as_ref().map(|r| &r.unknown)));
        names
    }
}

fn keys(before: &str, unknown: Option<&BTreeMap<String, Value>>) -> Vec<String> {
    unknown.into_iter().flat_map(BTreeMap::keys).map(|key| format!("{before}{key}")).collect()
}

fn view_type_schema() -> Schema {
    let number = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([0, 1, 2]));
    let text = ObjectBuilder::new().schema_type(Type::String).enum_values(Some(["0", "1", "2"]));
    OneOfBuilder::new().item(number).item(text).examples([json!(0)]).build().into()
}

fn powers_of_two() -> impl Iterator<Item = Value> {
    (7..=16).map(|power| json!(1 << power))
}

fn nfft_schema() -> Schema {
    let values = [Value::Null, json!(1)].into_iter().chain(powers_of_two());
    let types = SchemaType::from_iter([Type::Integer, Type::Null]);
    ObjectBuilder::new().schema_type(types).enum_values(Some(values)).examples([json!(512)]).build().into()
}

fn dtype_schema() -> Schema {
    let types = SchemaType::from_iter([Type::String, Type::Null]);
    let values = [json!("f16"), json!("f32"), Value::Null];
    ObjectBuilder::new().schema_type(types).enum_values(Some(values)).examples([json!("f16")]).build().into()
}

fn task_nfft_schema() -> Schema {
    let integer = ObjectBuilder::new().schema_type(Type::Integer);
    integer.enum_values(Some(powers_of_two())).examples([json!(512)]).build().into()
}

/// Body of `POST /config/{task_id}`, the form of older clients.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct TaskRequest {
    /// Seconds that the display shows.
    #[serde(rename = "displayTimeAxisDuration")]
    #[schema(required = true, value_type = f64, exclusive_minimum = 0.0, example = 10)]
    pub duration_s: Option<Number>,
    /// Window length in traces, a power of 2.
    #[serde(rename = "nfftSelection")]
    #[schema(required = true, schema_with = task_nfft_schema)]
    pub nfft: Option<i64>,
    /// The client's display.
    #[serde(rename = "canvasInfo")]
    #[schema(required = true, value_type = DisplayInfo)]
    pub canvas_info: Option<DisplayInfo>,
    /// Sensors, from 0, both ends included.
    #[schema(required = true, value_type = SensorRange)]
    pub sensors: Option<SensorRange>,
    /// Hz; without it 0 to half the PRR.
    #[serde(rename = "frequencyRange")]
    pub frequency_range: Option<FrequencyRange>,
    /// Begin of a recording, `yymmddHHMMSS` UTC; without it the task is live.
    #[schema(pattern = "^[0-9]{12}$", example = json!(null))]
    pub start_time: Option<String>,
    /// End of a recording, `yymmddHHMMSS` UTC; without it the task is live.
    #[schema(pattern = "^[0-9]{12}$", example = json!(null))]
    pub end_time: Option<String>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

/// Neighbouring sensors.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct SensorRange {
    /// First sensor.
    #[schema(required = true, value_type = i64, minimum = 0, example = 0)]
    pub min: Option<i64>,
    /// Last sensor.
    #[schema(required = true, value_type = i64, minimum = 1, example = 2)]
    pub max: Option<i64>,
    /// What else was sent.
    #[serde(flatten)]
    #[schema(ignore)]
    pub unknown: BTreeMap<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_absent_and_unknown_fields_are_kept_by_name() {
        let request: ConfigureRequest = serde_json::from_value(json!({
            "view_type": null, "channels": { "min": null, "max": 2 }, "frequencyRange": null, "start_time": null,
            "colour": "blue", "displayInfo": { "height": 1, "width": 2 }, "displayTimeAxisDuration": 0.3,
        }))
        .unwrap();
        assert!(request.view_type.is_none() && request.frequency_range.is_none() && request.start_time.is_none());
        assert_eq!(request.channels.as_ref().map(|c| (c.min, c.max)), Some((None, Some(2))));
        assert_eq!(request.unknown_fields(), ["colour", "displayInfo.width"]);
        assert_eq!(request.duration_s.as_ref().map(ToString::to_string).as_deref(), Some("0.3"));
    }

    #[test]
    fn a_list_is_no_object() {
        for body in [json!([0]), json!({ "channels": [1, 2] }), json!({ "displayInfo": [5] })] {
            assert!(serde_json::from_value::<ConfigureRequest>(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn a_view_type_is_a_number_or_a_numeric_string() {
        let read = |value: Value| serde_json::from_value::<ViewType>(value).unwrap();
        assert_eq!([read(json!(2)), read(json!("2")), read(json!(-7))], [2, 2, -7].map(ViewType::Number));
        for other in [json!(1.5), json!("x"), json!(""), json!([1]), json!({}), json!(true)] {
            assert_eq!(read(other.clone()), ViewType::Other(other.to_string()));
        }
    }
}
