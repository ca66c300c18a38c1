//! The spool in one SQLite file: WAL, `synchronous=FULL`, held exclusively by one process.
//!
//! Top down: [`writer`] runs the batches and deals with a disk that fails; [`store`] is one open database and its
//! transaction; [`checkpointer`] folds the log in beside it; [`entries`], [`operator`] and [`remembered`] are the verbs;
//! [`books`] is what is kept in memory, [`ids`] partly so; [`schema`] opens, makes and migrates the file; [`disk`] asks the
//! file system.

mod books;
mod checkpointer;
mod disk;
mod entries;
mod ids;
mod operator;
mod remembered;
mod schema;
mod store;
mod writer;

pub(crate) use entries::{append, lease, settle, settle_unleased, shed, supersede};
pub(crate) use operator::{check, drop_entries, list, retry, show, stats};
pub(crate) use remembered::{forget_gone, gone, gone_page, is_seen, note_gone, remember};
pub(crate) use store::{Fault, Session};
pub(crate) use writer::{Command, Work, Worked, Writer, collect};
