DROP TABLE analytics_salt; DROP TABLE analytics_dirty; DROP TABLE analytics_event;
