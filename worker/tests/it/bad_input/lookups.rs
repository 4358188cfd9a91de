//! Tables that are joined: what is bad in them is counted, and stops or is left out.

use serde_json::Value;

use super::{FIRST, LAST, Pipeline};
use crate::command::{Workplace, text};
use crate::output::rows_in;

/// Two trips and a table of zones whose second row has no number; `on_error` is the table's.
fn place(on_error: &str) -> Workplace {
    let place = Workplace::new();
    place.write("data/a.json", &format!("{FIRST}\n{LAST}\n"));
    place.write("zones.csv", "zone_id,name\n7,seven\nnone,eight\n");
    let sql = "INSERT INTO out SELECT id, name FROM trips LEFT JOIN zones ON trips.zone = zones.zone_id";
    let text = Pipeline { sql: sql.to_owned(), ..Pipeline::new("Fail") }.text();
    let text = text.replace(
        "sources: [{ name: taxi-trips, as: trips }]",
        "sources: [{ name: taxi-trips, as: trips }, { name: zones }]",
    );
    assert!(text.contains("name: zones }]"), "{text}");
    let zones = format!(
        "apiVersion: thalweg.dev/v1alpha1\nkind: StreamSource\nmetadata: {{ name: zones }}\nspec:\n  files: {{ url: zones.csv }}\n  \
         format: {{ csv: {{}} }}\n  lookup: {{}}\n  onError: {on_error}\n  \
         schema: [{{ name: zone_id, type: INT }}, {{ name: name, type: STRING }}]\n---\n"
    );
    place.write("pipeline.yaml", &(zones + &text));
    place
}

#[test]
fn a_bad_row_of_a_lookup_is_counted_where_it_is_dropped() {
    let place = place("Drop");
    let output = place.run(&["run", "pipeline.yaml", "-o", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_str(text(&output.stdout).lines().last().expect("a summary")).expect("JSON");
    let zones = &summary["sources"][1];
    assert_eq!(
        (&zones["name"], &zones["lookup"], &zones["rows"]),
        (&"zones".into(), &true.into(), &1.into()),
        "{summary}"
    );
    assert_eq!(zones["bad"]["Schema"], 1, "{summary}");
    let rows: Vec<_> = rows_in(&place.path("out")).into_values().flat_map(|rows| rows.into_keys()).collect();
    assert_eq!(rows, [r#"{"id":1,"name":"seven"}"#, r#"{"id":2,"name":null}"#]);
}

#[test]
fn a_bad_row_of_a_lookup_stops_the_run_with_its_place() {
    let place = place("Fail");
    let output = place.run(&["run", "pipeline.yaml"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("zones.csv, line 3"), "{}", text(&output.stderr));
}

#[test]
fn a_lookup_has_no_dead_letters() {
    let output = place("DeadLetter").run(&["check", "pipeline.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let told = text(&output.stderr);
    assert!(told.contains("StreamSource/zones") && told.contains("onError is Fail or Drop"), "{told}");
}
