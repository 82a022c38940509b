//! The operations of the operator API.

mod account;
mod history;
mod instances;
mod licenses;
mod people;
mod service;

use axum::http::Method;

use super::operation::{Operation, Parameter};

/// Paging parameters.
const CURSOR: Parameter = ("cursor", "s", "`next` of the page before");
const LIMIT: Parameter = ("limit", "n1000", "items of one page; 100 if left out");
const VIRTUAL_ACCOUNT: Parameter = ("virtual_account", "s", "id or name of a virtual account");

/// Whether an operation goes through the whole database, which takes longer than a request may.
pub(super) fn is_slow(method: &Method, path: &str) -> bool {
    method == Method::POST && matches!(path, service::BACKUP_PATH | history::VERIFY_PATH)
}

/// All of them.
pub(super) fn all() -> impl Iterator<Item = Operation> {
    let groups: [&[Operation]; 6] = [
        service::OPERATIONS,
        account::OPERATIONS,
        licenses::OPERATIONS,
        instances::OPERATIONS,
        history::OPERATIONS,
        people::OPERATIONS,
    ];
    groups.into_iter().flatten().copied()
}
