//! What each migration says, for whoever wants to read it before it runs.

/// The migrations by name, in order. A test holds the list to the folder.
const TEXTS: [(&str, &str); 11] = [
    (
        "2026-11-24-000001_log",
        include_str!("../../../../migrations/2026-11-24-000001_log/up.sql"),
    ),
    (
        "2026-11-24-000002_rules",
        include_str!("../../../../migrations/2026-11-24-000002_rules/up.sql"),
    ),
    (
        "2026-11-24-000003_aggregates",
        include_str!("../../../../migrations/2026-11-24-000003_aggregates/up.sql"),
    ),
    (
        "2026-11-24-000004_api_keys",
        include_str!("../../../../migrations/2026-11-24-000004_api_keys/up.sql"),
    ),
    (
        "2026-11-24-000005_rejected_events",
        include_str!("../../../../migrations/2026-11-24-000005_rejected_events/up.sql"),
    ),
    (
        "2026-11-25-000006_generations",
        include_str!("../../../../migrations/2026-11-25-000006_generations/up.sql"),
    ),
    (
        "2026-11-25-000007_voids",
        include_str!("../../../../migrations/2026-11-25-000007_voids/up.sql"),
    ),
    (
        "2026-11-27-000008_totals",
        include_str!("../../../../migrations/2026-11-27-000008_totals/up.sql"),
    ),
    (
        "2026-11-27-000009_links",
        include_str!("../../../../migrations/2026-11-27-000009_links/up.sql"),
    ),
    (
        "2026-11-28-000010_roles",
        include_str!("../../../../migrations/2026-11-28-000010_roles/up.sql"),
    ),
    (
        "2026-11-28-000011_data_life",
        include_str!("../../../../migrations/2026-11-28-000011_data_life/up.sql"),
    ),
];

/// The statements of a migration, by its name.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    let found = TEXTS.iter().find(|(known, _)| *known == name);
    found.map(|(_, text)| *text)
}
