use super::calls::{MAX_LANE_BODY_BYTES, MAX_LANES};
use super::frame::MAX_EXTENSION_BLOCK_BYTES;
use super::lane::{FRAME_PATIENCE, MIN_PROGRESS_BYTES};
use super::turns::MAX_ALONE;

#[test]
fn the_bounds_in_the_specification_are_those_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../SPEC.md");
    let text = std::fs::read_to_string(path).unwrap();
    let bounds = [
        (
            "MAX_EXTENSION_BLOCK_BYTES",
            MAX_EXTENSION_BLOCK_BYTES.to_string(),
        ),
        ("MAX_LANES", MAX_LANES.to_string()),
        ("MAX_LANE_BODY_BYTES", MAX_LANE_BODY_BYTES.to_string()),
        ("MAX_ALONE", MAX_ALONE.to_string()),
        ("FRAME_PATIENCE", format!("{} s", FRAME_PATIENCE.as_secs())),
        ("MIN_PROGRESS_BYTES", MIN_PROGRESS_BYTES.to_string()),
    ];
    for (name, value) in bounds {
        let row = format!("| `{name}` | {value} |\n");
        assert!(text.contains(&row), "{row}");
    }
}
