//! What the crate has no words for: topics with their ids and what this user may do (KIP-430, KIP-516), names of headers that
//! are no UTF-8 (on which the crate panics), and a token for a handle that asks for none itself.
//!
//! Every function borrows the handle or the message whose pointer it takes, so that it is there for as long as the call lasts;
//! what librdkafka makes for a call is destroyed by an `Owned` at its end, and everything that is returned is a copy.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::bindings as rd;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::BorrowedMessage;

use super::super::{ClientError, Result, Topic};
use super::error::from_code;

/// What librdkafka has made for us.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: it is ours, and used no more.
            unsafe { self.1(self.0) }
        }
    }
}

/// The cluster's description of a topic; `None` where there is none of this name. Waits.
pub(super) fn describe<C: ClientContext>(client: &Client<C>, name: &str, limit: Duration) -> Result<Option<Topic>> {
    let name = c_string(name)?;
    let millis = c_int::try_from(limit.as_millis()).unwrap_or(c_int::MAX);
    let handle = client.native_ptr();
    let mut names = [name.as_ptr()];
    // SAFETY: see the module; the names are copied, and the queue outlives the one event that is fetched from it.
    unsafe {
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned(topics, rd::rd_kafka_TopicCollection_destroy);
        let operation = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = Owned(rd::rd_kafka_AdminOptions_new(handle, operation), rd::rd_kafka_AdminOptions_destroy);
        // Without them, it would wait for longer and not know what this user may do: neither is refused for this operation.
        rd::rd_kafka_AdminOptions_set_request_timeout(options.0, millis, ptr::null_mut(), 0);
        let refused = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, 1);
        drop(Owned(refused, rd::rd_kafka_error_destroy));
        let queue = Owned(rd::rd_kafka_queue_new(handle), rd::rd_kafka_queue_destroy);
        rd::rd_kafka_DescribeTopics(handle, topics.0, options.0, queue.0);
        let event = Owned(rd::rd_kafka_queue_poll(queue.0, millis), rd::rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err(ClientError::Away("nobody has described the topic in time".to_owned()));
        }
        let code: RDKafkaErrorCode = rd::rd_kafka_event_error(event.0).into();
        if code != RDKafkaErrorCode::NoError {
            return Err(from_code(code, format!("{code:?}: {}", text(rd::rd_kafka_event_error_string(event.0)))));
        }
        let mut count = 0;
        let found = rd::rd_kafka_DescribeTopics_result_topics(
            rd::rd_kafka_event_DescribeTopics_result(event.0),
            &raw mut count,
        );
        if found.is_null() || count == 0 { Ok(None) } else { described(*found) }
    }
}

/// Reads a description.
///
/// # Safety
/// It belongs to an event that is there.
unsafe fn described(topic: *const rd::rd_kafka_TopicDescription_t) -> Result<Option<Topic>> {
    // SAFETY: the caller's; what is asked for belongs to the description.
    unsafe {
        let error = rd::rd_kafka_TopicDescription_error(topic);
        match RDKafkaErrorCode::from(rd::rd_kafka_error_code(error)) {
            RDKafkaErrorCode::NoError => {}
            RDKafkaErrorCode::UnknownTopicOrPartition => return Ok(None),
            code => return Err(from_code(code, format!("{code:?}: {}", text(rd::rd_kafka_error_string(error))))),
        }
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let most = rd::rd_kafka_Uuid_most_significant_bits(id).cast_unsigned();
        let least = rd::rd_kafka_Uuid_least_significant_bits(id).cast_unsigned();
        let mut partitions = 0;
        rd::rd_kafka_TopicDescription_partitions(topic, &raw mut partitions);
        let mut count = 0;
        let allowed = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        // Brokers that do not tell refuse later.
        let may = |operation| allowed.is_null() || (0..count).any(|index| *allowed.add(index) == operation);
        Ok(Some(Topic {
            id: u128::from(most) << 64 | u128::from(least),
            partitions: u32::try_from(partitions).unwrap_or(u32::MAX),
            may_read: may(rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_READ),
            may_write: may(rd::rd_kafka_AclOperation_t::RD_KAFKA_ACL_OPERATION_WRITE),
        }))
    }
}

/// Gives a handle a token.
pub(super) fn set_token<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> Result<()> {
    let (value, principal) = (c_string(&token.token)?, c_string(&token.principal_name)?);
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: see the module; the strings are copied, and at most so many bytes of the reason are written, with a zero.
    let (code, why) = unsafe {
        let code = rd::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            why.as_mut_ptr(),
            why.len(),
        );
        (RDKafkaErrorCode::from(code), text(why.as_ptr()))
    };
    if code == RDKafkaErrorCode::NoError { Ok(()) } else { Err(ClientError::Denied(why)) }
}

/// Names and values of a record's headers, in their order.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Vec<(String, Option<Bytes>)> {
    let mut headers = ptr::null_mut();
    // SAFETY: see the module; headers belong to their message.
    let code = unsafe { rd::rd_kafka_message_headers(message.ptr(), &raw mut headers) };
    if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError || headers.is_null() {
        return Vec::new();
    }
    let header = |index| {
        let (mut name, mut value, mut bytes) = (ptr::null(), ptr::null(), 0);
        // SAFETY: as above; past the last header it says so and writes nothing.
        unsafe {
            let code = rd::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut bytes);
            if RDKafkaErrorCode::from(code) != RDKafkaErrorCode::NoError {
                return None;
            }
            let value =
                (!value.is_null()).then(|| Bytes::copy_from_slice(std::slice::from_raw_parts(value.cast(), bytes)));
            Some((text(name), value))
        }
    };
    (0..).map_while(header).collect()
}

/// A copy of a text.
///
/// # Safety
/// It ends with a zero, or is null.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| ClientError::Refused("a name or a value holds a byte 0".to_owned()))
}
