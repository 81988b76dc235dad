//! The project a sandbox starts with: `examples/lesson3`, carried in the binary.

/// The project's files by their paths in the repository.
pub const FILES: [(&str, &[u8]); 5] = [
    (".gitignore", include_bytes!("../../../examples/lesson3/.gitignore")),
    ("README.md", include_bytes!("../../../examples/lesson3/README.md")),
    ("data/iris.csv", include_bytes!("../../../examples/lesson3/data/iris.csv")),
    ("lesson3.ipynb", include_bytes!("../../../examples/lesson3/lesson3.ipynb")),
    ("train.py", include_bytes!("../../../examples/lesson3/train.py")),
];

/// The name and bytes of a stored version of the project's model: packed with gzip, trained for one run.
pub const MODEL: (&str, &[u8]) =
    ("2026-11-20_export.pkl.gz", include_bytes!("../../../examples/lesson3-model/2026-11-20_export.pkl.gz"));
