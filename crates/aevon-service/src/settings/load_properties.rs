//! Settings whatever anybody gives: an error in one line, never a panic; and what is printed is read back
//! as the same.

use std::ffi::OsString;
use std::io::Write;

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;

/// How a value is given.
#[derive(Clone, Copy, Debug)]
enum Layer {
    File,
    Environment,
    Flag,
}

/// A value that somebody gives: the setting, the layer, the text.
type Choice = (String, String, Layer, String);

/// Every setting, with its default.
fn known() -> Vec<(String, String, Value)> {
    let mut known = Vec::new();
    for (section, entries) in defaults().unwrap() {
        for (name, default) in entries.as_mapping().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            known.push((text(&section), text(name), default.clone()));
        }
    }
    known
}

/// A value for a setting, most of them such as it takes.
fn value(default: &Value) -> BoxedStrategy<String> {
    let fit = match default {
        Value::Bool(_) => any::<bool>().prop_map(|flag| flag.to_string()).boxed(),
        Value::Number(_) => prop_oneof![0..100_000_u64, any::<u64>()]
            .prop_map(|number| number.to_string())
            .boxed(),
        Value::String(text) => {
            let known = [
                text.as_str(),
                "30s",
                "1h 30m",
                "500ms",
                "api_key",
                "text",
                "*/2 * * * *",
            ];
            select(known.map(str::to_owned).to_vec()).boxed()
        }
        _ => prop_oneof!["[a-z/:.0-9 ]{0,20}", "[1-9]{1,2}(s|m|h|d)"].boxed(),
    };
    prop_oneof![8 => fit, 1 => any::<String>(), 1 => "-?[0-9]{1,25}"].boxed()
}

fn given() -> impl Strategy<Value = Vec<Choice>> {
    let layer = select(vec![Layer::File, Layer::Environment, Layer::Flag]);
    let one = (select(known()), layer).prop_flat_map(|((section, name, default), layer)| {
        value(&default).prop_map(move |text| (section.clone(), name.clone(), layer, text))
    });
    prop::collection::vec(one, 0..5)
}

fn read_file(bytes: &[u8]) -> Result<Settings, SettingsError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    load(Some(file.path()), [], &[])
}

fn printed(settings: &Settings) -> String {
    serde_yaml_ng::to_string(settings).unwrap()
}

/// Lays values over each other, each as it is given.
fn laid(given: &[Choice]) -> Result<Settings, SettingsError> {
    let mut file = Mapping::new();
    let (mut environment, mut flags) = (Vec::<(OsString, OsString)>::new(), Vec::new());
    for (section, name, layer, text) in given {
        match layer {
            Layer::File => {
                let entries = file.entry(section.as_str().into()).or_insert(Value::Null);
                if entries.is_null() {
                    *entries = Value::Mapping(Mapping::new());
                }
                let entries = entries.as_mapping_mut().unwrap();
                entries.insert(name.as_str().into(), text.as_str().into());
            }
            Layer::Environment => {
                environment.push((environment_name(section, name).into(), text.into()));
            }
            Layer::Flag => flags.push((format!("{section}.{name}"), text.clone())),
        }
    }
    let mut yaml = tempfile::NamedTempFile::new().unwrap();
    let text = serde_yaml_ng::to_string(&file).unwrap();
    yaml.write_all(text.as_bytes()).unwrap();
    load(Some(yaml.path()), environment, &flags)
}

fn check_refused(refused: &SettingsError) -> Result<(), TestCaseError> {
    let line = refused.to_string();
    prop_assert!(!line.is_empty() && !line.contains('\n'), "{:?}", line);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_taken_is_printed_and_read_back_and_what_is_not_is_told_in_one_line(given in given()) {
        match laid(&given) {
            Err(refused) => check_refused(&refused)?,
            Ok(settings) => {
                let text = printed(&settings);
                let again = read_file(text.as_bytes());
                let again = again.map_err(|refused| TestCaseError::fail(format!("{refused}: {text}")));
                prop_assert_eq!(printed(&again?), text);
            }
        }
    }

    #[test]
    fn a_file_of_rubbish_is_read_or_told_in_one_line(
        edits in prop::collection::vec((any::<Index>(), 0..30_usize, any::<Vec<u8>>()), 0..4),
        pieces in prop::collection::vec(select(vec!["[", "{", "? ", "- ", "&a ", "*a", "!!int ", "\n", ": ", "~", "\"", "1e9"]), 0..6),
    ) {
        let mut bytes = printed(&Settings::default()).into_bytes();
        for (at, cut, instead) in &edits {
            let from = at.index(bytes.len() + 1);
            let to = (from + cut).min(bytes.len());
            let pieces = pieces.concat().into_bytes();
            bytes.splice(from..to, [instead.clone(), pieces].concat());
        }
        if let Err(refused) = read_file(&bytes) {
            check_refused(&refused)?;
        }
    }

    #[test]
    fn names_that_are_no_settings_are_told_in_one_line(section in any::<String>(), name in any::<String>()) {
        let variable = format!("AEVON_{section}__{name}");
        let key = format!("{section}.{name}");
        for refused in [
            load(None, [(variable.into(), "1".into())], &[]),
            load(None, [], &[(key, "1".to_owned())]),
        ] {
            if let Err(refused) = refused {
                check_refused(&refused)?;
            }
        }
    }
}
