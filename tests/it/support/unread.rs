//! Responses to the GET of a manifest that leave its existence unknown.

use sandbox::{Fault, Trigger};

pub(crate) const UNREAD: [fn(Trigger) -> Fault; 7] = [
    |on| on.status(401),
    |on| on.status(503),
    |on| on.reset(),
    |on| on.wrong_digest(),
    // A login page, or a proxy that answers for the registry.
    |on| on.answer(200, &[("content-type", "text/html")], "<html>log in</html>"),
    |on| on.drop_header("docker-content-digest"),
    |on| on.set_header("docker-content-digest", ""),
];
