//! `application/vnd.pushrelay+json; v=1`

pub(super) const MEDIA_TYPE: &str = "application/vnd.pushrelay+json";
