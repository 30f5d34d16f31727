DROP FUNCTION app_user(); DROP FUNCTION app_context();
