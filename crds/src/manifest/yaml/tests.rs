use super::*;
use proptest::prelude::*;
use serde_json::json;

fn messages(text: &str) -> Vec<String> {
    let show = |problem: YamlProblem| {
        let help = problem.help.map(|help| format!(" / {help}")).unwrap_or_default();
        format!("{}:{} {}{help}", problem.at.line, problem.at.column, problem.message)
    };
    parse(text).problems.into_iter().map(show).collect()
}

fn json_of(text: &str) -> Value {
    assert_eq!(messages(text), Vec::<String>::new(), "{text}");
    parse(text).documents[0].to_json()
}

#[test]
fn documents_keys_and_styles_become_json() {
    let parsed = parse("a: 1\n---\n- 'x'\n- \"y\"\n- |\n  z\n---\n");
    let all: Vec<Value> = parsed.documents.iter().map(|document| document.to_json()).collect();
    assert_eq!(all, [json!({"a": 1}), json!(["x", "y", "z\n"]), json!(null)]);
    assert_eq!(json_of("on: '5'\n5: yes\n"), json!({"true": "5", "5": true}));
    assert_eq!(json_of("a: !!str 5\nb: !!int '5'\nc: !own x\n"), json!({"a": "5", "b": 5, "c": "x"}));
}

#[test]
fn aliases_and_merged_keys_are_written_out() {
    let text = "a: &a {x: 1, z: 2}\nb: *a\nc: {<<: *a, z: 3}\nd: {<<: [{x: 9}, *a]}\n";
    let one = json!({"x": 1, "z": 2});
    assert_eq!(json_of(text), json!({"a": one, "b": one, "c": {"z": 3, "x": 1}, "d": {"x": 9, "z": 2}}));
}

#[test]
fn problems_name_the_place_and_what_to_do() {
    assert_eq!(
        messages("a: 1\nb: 2\na: 3\n"),
        ["3:1 `a` is given twice; the first one is at 1:1 / remove one of them"]
    );
    assert_eq!(
        messages("a: &x [*x]\n"),
        ["1:8 this alias stands inside its own anchor, or in another document / write the value out"]
    );
    assert_eq!(messages("? [a]\n: 1\n"), ["1:3 a key must be a text, found a list"]);
    assert_eq!(messages("a: .inf\n"), ["1:4 `.inf` has no form in JSON / quote it, if a text is meant"]);
    assert_eq!(messages("a: !!int x\n"), ["1:4 `x` is no !!int"]);
    assert_eq!(messages("a: {<<: 5}\n"), ["1:9 `<<` merges a map, or a list of maps"]);
    assert_eq!(messages(&"[".repeat(100)), ["1:66 this nests deeper than 64 levels / flatten it"]);
    assert_eq!(messages("a:\n  \tb: 1\n"), ["2:3 a tab is no indentation / indent with spaces"]);
    assert_eq!(json_of("{\n\t\"a\": {\n\t\t\"b\": 1}}"), json!({"a": {"b": 1}}));
    let long = messages(&" ".repeat(MAX_BYTES + 1));
    assert_eq!(long, ["1:1 the file has 4194305 bytes; the limit is 4 MiB / split it"]);
}

#[test]
fn what_stands_before_an_error_of_syntax_is_kept() {
    let parsed = parse("a: 1\n---\nb: [\n");
    assert_eq!(parsed.documents.len(), 1);
    assert_eq!(parsed.problems.len(), 1);
    assert!(parsed.problems[0].message.starts_with("this is no YAML: "), "{:?}", parsed.problems);
}

#[test]
fn aliases_of_aliases_stop_at_the_limit() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    let messages = messages(&bomb);
    assert_eq!(messages.len(), 1);
    assert!(messages[0].contains("more than 100000 values, aliases written out"), "{messages:?}");
}

proptest! {
    #[test]
    fn no_text_panics(text in ".*") {
        parse(&text);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn no_text_of_yaml_s_own_tokens_panics(
        tokens in prop::collection::vec(
            prop::sample::select(vec![
                "a", ":", " ", "\n", "- ", "[", "]", "{", "}", ",", "&a", "*a", "|", ">", "\"", "'", "---", "...", "?",
                "<<", "!!int", "%YAML", "#", "\t", "  ", "é", "\\", "0x1", "|2-",
            ]),
            0..40,
        )
    ) {
        parse(&tokens.concat());
    }

    #[test]
    fn json_is_yaml(value in any_json()) {
        prop_assert_eq!(json_of(&value.to_string()), value);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~éß\n]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("[a-z ]{1,6}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}
