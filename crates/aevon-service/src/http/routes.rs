//! The routes of a program, as its services add them.
//!
//! Invariant: this is the only door for a route, so that what is served can be listed, and compared
//! with what is documented.

use actix_web::http::Method;
use actix_web::{App, FromRequest, Handler, Responder, web};

use super::measure::Route;

/// Routes that are being added by one worker.
pub struct Routes<'a> {
    config: &'a mut web::ServiceConfig,
    resources: Vec<Resource>,
}

/// One pattern and what it answers.
struct Resource {
    pattern: String,
    methods: Vec<Method>,
    routes: Vec<actix_web::Route>,
}

impl<'a> Routes<'a> {
    /// Adds what `configure` does, all at once.
    pub(super) fn add_to(
        config: &'a mut web::ServiceConfig,
        configure: impl FnOnce(&mut Routes<'_>),
    ) -> Vec<(Method, String)> {
        let mut routes = Routes {
            config,
            resources: Vec::new(),
        };
        configure(&mut routes);
        routes.finish()
    }

    /// Makes a value known to the handlers.
    pub fn data<T: 'static>(&mut self, data: T) -> &mut Self {
        self.config.app_data(data);
        self
    }

    /// Answers GET.
    pub fn get<F, Args>(&mut self, pattern: &str, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::GET, pattern, web::get().to(handler))
    }

    /// Answers HEAD.
    pub fn head<F, Args>(&mut self, pattern: &str, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::HEAD, pattern, web::head().to(handler))
    }

    /// Answers POST.
    pub fn post<F, Args>(&mut self, pattern: &str, handler: F) -> &mut Self
    where
        F: Handler<Args>,
        Args: FromRequest + 'static,
        F::Output: Responder + 'static,
    {
        self.add(Method::POST, pattern, web::post().to(handler))
    }

    fn add(&mut self, method: Method, pattern: &str, route: actix_web::Route) -> &mut Self {
        let found = self.resources.iter().position(|one| one.pattern == pattern);
        let at = found.unwrap_or_else(|| {
            self.resources.push(Resource {
                pattern: pattern.to_owned(),
                methods: Vec::new(),
                routes: Vec::new(),
            });
            self.resources.len() - 1
        });
        self.resources[at].methods.push(method);
        self.resources[at].routes.push(route);
        self
    }

    /// Other methods than a resource's are answered with the problem `method-not-allowed` and an
    /// `allow` header, and requests are counted under its pattern.
    fn finish(self) -> Vec<(Method, String)> {
        let mut added = Vec::new();
        for one in self.resources {
            // actix answers 405 with `allow` and without a body; the outermost layer fills it in.
            let resource = web::resource(&one.pattern).app_data(Route::new(&one.pattern));
            let resource = one
                .routes
                .into_iter()
                .fold(resource, |r, route| r.route(route));
            self.config.service(resource);
            let of_pattern = |method| (method, one.pattern.clone());
            added.extend(one.methods.into_iter().map(of_pattern));
        }
        added
    }
}

/// The method and pattern of every route that [`super::serve`] serves with `configure`.
pub fn registered(configure: impl FnOnce(&mut Routes<'_>)) -> Vec<(Method, String)> {
    let mut added = Vec::new();
    // Never served: actix makes the place where routes are added with the application alone.
    let _app = App::new().configure(|config| {
        added = Routes::add_to(config, |routes| {
            super::add_own(routes);
            configure(routes);
        });
    });
    added
}
