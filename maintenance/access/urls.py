from django.urls import path

from maintenance.access import api

urlpatterns = [
    path("auth/register", api.RegisterView.as_view()),
    path("auth/login", api.LoginView.as_view()),
    path("auth/logout", api.LogoutView.as_view()),
    path("auth/user", api.CurrentUserView.as_view()),
    path("auth/tokens", api.TokensView.as_view()),
    path("auth/tokens/<int:pk>", api.TokenView.as_view()),
]
