//! Turns what actix says when a request fails by itself (extractors, routing) into problems.
//!
//! Invariant: what a 5xx of a library says goes to the log and not to the caller.

use actix_web::body::{BodySize, MessageBody};
use actix_web::error::{JsonPayloadError, PathError, PayloadError, QueryPayloadError};
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{Error, HttpResponse};

use crate::problem::{Code, Problem};

/// The problem to answer instead of this response, if it is an error that is not one yet: one
/// that a library made, or one without a body.
pub(super) fn instead_of<B: MessageBody>(response: &HttpResponse<B>) -> Option<Problem> {
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error()) {
        return None;
    }
    match response.error() {
        Some(error) if error.as_error::<Problem>().is_some() => None,
        Some(error) => of_error(error),
        None if response.headers().contains_key(CONTENT_TYPE) => None,
        None => match response.body().size() {
            BodySize::None | BodySize::Sized(0) => of_status(status, String::new()),
            _ => None,
        },
    }
}

/// The problem that an error of actix is; none for a status that has no code.
pub(super) fn of_error(error: &Error) -> Option<Problem> {
    if let Some(problem) = error.as_error::<Problem>() {
        return Some(problem.clone());
    }
    let status = error.as_response_error().status_code();
    let detail = error.to_string();
    let code = if error.as_error::<PathError>().is_some() {
        Code::NotFound
    } else if error.as_error::<QueryPayloadError>().is_some() {
        Code::InvalidParameter
    } else if status == StatusCode::BAD_REQUEST
        && (error.as_error::<JsonPayloadError>().is_some()
            || error.as_error::<PayloadError>().is_some())
    {
        Code::MalformedBody
    } else {
        return of_status(status, detail);
    };
    Some(Problem::new(code, detail))
}

fn of_status(status: StatusCode, detail: String) -> Option<Problem> {
    let code = match status.as_u16() {
        400 => Code::InvalidParameter,
        401 => Code::Unauthenticated,
        403 => Code::Forbidden,
        404 => Code::NotFound,
        405 => Code::MethodNotAllowed,
        408 => Code::RequestTimeout,
        413 => Code::BodyTooLarge,
        415 => Code::UnsupportedMediaType,
        429 => Code::RateLimited,
        503 => Code::Overloaded,
        500.. => Code::Internal,
        _ => return None,
    };
    // Only our own words about a 5xx are for callers.
    let public = match code {
        Code::MethodNotAllowed if detail.is_empty() => "see the allow header".to_owned(),
        Code::Overloaded => "try again later".to_owned(),
        _ if detail.is_empty() => code.title().to_owned(),
        _ => detail,
    };
    Some(Problem::new(code, public))
}

#[cfg(test)]
mod tests {
    use actix_web::ResponseError;
    use actix_web::error::{ErrorImATeapot, ErrorInternalServerError, ErrorServiceUnavailable};

    use super::*;

    #[test]
    fn a_problem_stays_as_it_is() {
        let response = Problem::new(Code::RateLimited, "slower").error_response();
        assert_eq!(instead_of(&response), None);
        let response = HttpResponse::from_error(Problem::new(Code::RateLimited, "slower"));
        assert_eq!(instead_of(&response), None);
    }

    #[test]
    fn an_empty_error_is_filled_in_and_an_answer_is_not() {
        let code = |response: HttpResponse| instead_of(&response).map(|problem| problem.code);
        assert_eq!(
            code(HttpResponse::MethodNotAllowed().finish()),
            Some(Code::MethodNotAllowed)
        );
        assert_eq!(
            code(HttpResponse::BadGateway().finish()),
            Some(Code::Internal)
        );
        assert_eq!(code(HttpResponse::ServiceUnavailable().json(1)), None);
        assert_eq!(code(HttpResponse::Ok().finish()), None);
        assert_eq!(code(HttpResponse::NotModified().finish()), None);
    }

    #[test]
    fn what_a_library_says_of_a_5xx_does_not_reach_the_caller() {
        for error in [
            ErrorInternalServerError("SELECT 1"),
            ErrorServiceUnavailable("SELECT 1"),
        ] {
            let problem = of_error(&error).unwrap();
            assert!(
                !serde_json::to_string(&problem).unwrap().contains("SELECT"),
                "{problem:?}"
            );
        }
        assert_eq!(of_error(&ErrorImATeapot("short")), None);
    }
}
